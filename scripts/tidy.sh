#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-tidy over the library's sources and, through them and one file that includes them all, its
# headers. Any finding fails.
#
#   scripts/tidy.sh              all
#   scripts/tidy.sh a.cpp b.cpp  only these
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset clang >/dev/null
files=("$@")
if [ ${#files[@]} -eq 0 ]; then
  mapfile -t files < <(find src -name '*.cpp' ! -name '*_test.cpp' | sort)
  umbrella=build/clang/tests/headers/peeper_peeper_hpp.cpp
  [ -f "$umbrella" ] && files+=("$umbrella")
fi
[ ${#files[@]} -gt 0 ] || { echo "tidy: no sources"; exit 0; }
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy-22 -p build/clang --quiet --use-color=false
echo "tidy: ${#files[@]} files clean"
