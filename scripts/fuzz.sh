#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of a build for an equal share of the given time.
#
#   scripts/fuzz.sh <build folder> <seconds>
#
# Seeds come from fuzz/corpus/<target>/ and from the target itself, which writes them to
# $PEEPER_FUZZ_SEEDS; words from fuzz/<target without _fuzz>.dict. What is found goes to the build folder. An input that
# crashed is left there as crash-*: run the target with that file as its argument to repeat it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$1
seconds=$2

mapfile -t targets < <(find "$build" -type f -executable -name '*_fuzz' | sort)
[ ${#targets[@]} -gt 0 ] || { echo "fuzz: no target was built"; exit 1; }
export ASAN_SYMBOLIZER_PATH=/usr/bin/llvm-symbolizer-22 UBSAN_OPTIONS=print_stacktrace=1
share=$((seconds / ${#targets[@]}))
[ "$share" -gt 0 ] || share=1
for target in "${targets[@]}"; do
  name=$(basename "$target")
  work="$build/run/$name"
  mkdir -p "$work/corpus"
  corpus=("$work/corpus")
  [ -d "fuzz/corpus/$name" ] && corpus+=("fuzz/corpus/$name")
  dictionary=()
  [ -f "fuzz/${name%_fuzz}.dict" ] && dictionary=("-dict=fuzz/${name%_fuzz}.dict")
  echo "fuzz: $name for $share s"
  if ! PEEPER_FUZZ_SEEDS="$work/corpus" "$target" "${dictionary[@]}" \
    -max_total_time="$share" -rss_limit_mb=512 -timeout=10 \
    -artifact_prefix="$work/" "${corpus[@]}" >"$work/log" 2>&1; then
    cat "$work/log"
    exit 1
  fi
  tail -n 1 "$work/log"
done
