#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one test command, for people (make test) and for CI (.ci/run): every stage below, in order.
#
#   scripts/test.sh              all stages
#   scripts/test.sh dev tidy     only these
#
# A stage that fails does not stop the ones after it, but fails the whole.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

all_stages=(format dev clang asan tsan tidy fuzz bench)
stages=("$@")
[ ${#stages[@]} -gt 0 ] || stages=("${all_stages[@]}")
fuzz_seconds=${PEEPER_FUZZ_SECONDS:-60}
jobs=$(nproc)

scripts/install_deps.sh core test || exit 1

summaries=()  # one line for each stage
failed_stages=()
tests_run=0
tests_failed=0

build() {  # <preset> [arguments for cmake --build]
  cmake --preset "$1" >"build/$1.configure.log" 2>&1 || { cat "build/$1.configure.log"; return 1; }
  cmake --build --preset "$@" || return 1
}

# Builds a preset and runs its tests. Fails when none ran: a build that lost its tests is not green.
build_and_test() {  # <preset>
  build "$1" || return 1
  local log="build/$1.ctest.log" status
  ctest --preset "$1" -j "$jobs" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  local line failed total
  line=$(grep -E '^[0-9]+% tests passed, [0-9]+ tests failed out of [0-9]+' "$log" | tail -n 1)
  if [ -z "$line" ]; then
    echo "no test ran in preset $1"
    return 1
  fi
  failed=$(sed -E 's/.* ([0-9]+) tests failed.*/\1/' <<<"$line")
  total=$(sed -E 's/.* out of ([0-9]+).*/\1/' <<<"$line")
  tests_failed=$((tests_failed + failed))
  tests_run=$((tests_run + total))
  detail="$((total - failed)) of $total tests passed"
  [ "$total" -gt 0 ] && return "$status"
  return 1
}

stage_format() { scripts/format.sh --check; }
stage_dev() { build_and_test dev; }
stage_clang() { build_and_test clang; }
stage_asan() { build_and_test asan; }
stage_tsan() { build_and_test tsan; }
stage_tidy() { scripts/tidy.sh; }
stage_fuzz() { build fuzz && scripts/fuzz.sh build/fuzz "$fuzz_seconds"; }
# Every benchmark once, with hardly any work: fails where one is broken, never for a time.
stage_bench() {
  scripts/install_deps.sh core bench || return 1
  build release --target peeper_bench || return 1
  build/release/peeper_bench --short --json=build/bench-short.json
}

mkdir -p build
for stage in "${stages[@]}"; do
  if ! declare -F "stage_$stage" >/dev/null; then
    echo "test.sh: unknown stage '$stage' (${all_stages[*]})" >&2
    exit 2
  fi
  echo "=== $stage"
  started=$SECONDS
  detail=""
  if "stage_$stage"; then
    result=ok
  else
    result=FAILED
    failed_stages+=("$stage")
  fi
  summaries+=("$(printf '%-8s %-7s %4d s  %s' "$stage" "$result" $((SECONDS - started)) "$detail")")
done

echo
echo "=== stages (${SECONDS} s in all)"
printf '%s\n' "${summaries[@]}"
echo
if [ "$tests_run" -gt 0 ]; then
  # In CTest's words, over all presets.
  echo "$(((tests_run - tests_failed) * 100 / tests_run))% tests passed," \
    "$tests_failed tests failed out of $tests_run"
fi
if [ ${#failed_stages[@]} -gt 0 ]; then
  echo "FAILED: ${failed_stages[*]}"
  exit 1
fi
