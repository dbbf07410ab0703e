#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kv_demo, ended by a signal: its redis-benchmark goes with it, and it gives the account it promised.
#
#     kv_demo_signal_test.sh PATH_OF_KV_DEMO
set -eu
demo=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $1"
  cat "$folder/rest" 2> /dev/null || true
  exit 1
}

# The pids of the redis-benchmarks whose parent is $1, one a line.
children() {
  for stat in /proc/[0-9]*/stat; do
    # pid (name) state parent ...; it may be gone by now
    sed -n "s/^\([0-9]*\) (redis-benchmark) [^Z] $1 .*/\1/p" "$stat" 2> /dev/null || true
  done
}
# An OS process that nobody has waited for yet is over, too.
gone() {
  ! grep -q '^[0-9]* (redis-benchmark) [^ZX]' "/proc/$1/stat" 2> /dev/null
}

# end_by SIGNAL EXIT_CODE ISOLATION: starts a demo, lets it get to work, ends it.
end_by() {
  rm -f "$folder/out" "$folder/rest"
  mkfifo "$folder/out"
  env --default-signal=INT "$demo" --seconds 300 --seconds-max 300 --clients 2 --seed 1 \
    --isolation "$3" --benchmark-requests 160000 > "$folder/out" 2>&1 &
  pid=$!
  exec 3< "$folder/out"
  child=
  while [ -z "$child" ]; do
    read -r line <&3 || fail "it ended before it was signalled"
    echo "$line" >> "$folder/rest"
    child=$(children "$pid" | head -n 1)
  done
  kill "-$1" "$pid"
  cat <&3 >> "$folder/rest"
  exec 3<&-
  status=0
  wait "$pid" || status=$?
  [ "$status" = "$2" ] || fail "exit code $status after SIG$1, expected $2"
  give_up=$(($(date +%s) + 30))
  until gone "$child"; do
    [ "$(date +%s)" -lt "$give_up" ] || fail "redis-benchmark ($child) is still there after SIG$1"
  done
}

end_by KILL 137 in-program
for signal in INT:130:in-program TERM:143:os-process; do
  isolation=${signal##*:}
  signal=${signal%:*}
  end_by "${signal%:*}" "${signal#*:}" "$isolation"
  grep -q "writes lost  *0$" "$folder/rest" || fail "no table after SIG${signal%:*}"
  tail -n 1 "$folder/rest" | grep -q "^demo: requests=.* lost=0 duplicated=0 " ||
    fail "no last line after SIG${signal%:*}"
  if grep -q "FAILED\|WRONG" "$folder/rest"; then fail "it says that it failed"; fi
done
echo passed
