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

mkfifo "$folder/ready"
"$kv" --port 0 > "$folder/ready" 2> "$folder/log" &
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

kill -TERM "$pid"
cat <&3 > "$folder/rest"
status=0
wait "$pid" || status=$?
[ "$status" = 0 ] || fail "exit code $status after SIGTERM"
echo passed
