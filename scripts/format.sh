#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Formats all C++ of the project in place; with --check only says what is not formatted, and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folders=()
for folder in include src tests examples bench fuzz; do
  [ -d "$folder" ] && folders+=("$folder")
done
mode=(-i)
[ "${1:-}" = --check ] && mode=(--dry-run -Werror)
find "${folders[@]}" \( -name '*.hpp' -o -name '*.cpp' \) -print0 |
  xargs -0 -r clang-format-22 "${mode[@]}"
