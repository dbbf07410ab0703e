#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The kv program as its user meets it: help, complaints, a first session, the end by SIGTERM.
#
#     kv_program_test.sh PATH_OF_KV
set -eu
kv=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $1"
  exit 1
}

"$kv" --help | grep -q -- --port || fail "--help does not tell of --port"
if "$kv" --no-such-option > "$folder/out" 2>&1; then fail "an unknown option was accepted"; fi
if "$kv" --bind nowhere > "$folder/out" 2>&1; then fail "a bad address was accepted"; fi
grep -q "'nowhere' is not an IP address" "$folder/out" || fail "no word about the bad address"

if "$kv" --isolation nowhere > "$folder/out" 2>&1; then fail "a bad isolation was accepted"; fi

# session ISOLATION: starts a kv, has a first session with it, ends it.
session() {
  rm -f "$folder/ready"
  mkfifo "$folder/ready"
  "$kv" --port 0 --isolation "$1" > "$folder/ready" 2> "$folder/log" &
  pid=$!
  exec 3< "$folder/ready"
  read -r line <&3
  port=$(echo "$line" | sed -n 's/^kv: ready on 127\.0\.0\.1:\([0-9]*\) .*/\1/p')
  [ -n "$port" ] || fail "unexpected first line: $line"

  if "$kv" --port "$port" > "$folder/out" 2>&1; then fail "a taken port was accepted"; fi
  grep -q "choose another port" "$folder/out" || fail "no advice about the taken port"

  [ "$(redis-cli -p "$port" SET a 1)" = OK ] || fail "SET"
  redis-cli -p "$port" CRASH boom | grep -q "CRASH worker crashed: boom; state rolled back" ||
    fail "CRASH"
  [ "$(redis-cli -p "$port" INCR a)" = 2 ] || fail "the state after CRASH"
  died=$(redis-cli -p "$port" CRASH segv INCR a)
  case "$1: $died" in
    "in-program: ERR CRASH segv would end the program"*) ;;
    "os-process: CRASH worker crashed: signalled: SIGSEGV"*"; state rolled back"*) ;;
    *) fail "CRASH segv, $1: $died" ;;
  esac
  [ "$(redis-cli -p "$port" INCR a)" = 3 ] || fail "the state after CRASH segv"

  kill -TERM "$pid"
  cat <&3 > "$folder/rest"
  status=0
  wait "$pid" || status=$?
  [ "$status" = 0 ] || fail "exit code $status after SIGTERM"
}

session in-program
session os-process
echo passed
