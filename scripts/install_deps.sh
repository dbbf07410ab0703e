#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that a set of tasks needs. Does nothing, quickly, when all are there.
#
#   scripts/install_deps.sh core|test|demo|bench ...
set -euo pipefail

core=(g++ make cmake ninja-build ccache
  libboost1.81-dev libcbor-dev libfmt-dev libspdlog-dev libseccomp-dev)
# clang-22 and its tools are part of Debian 12 (its security archive); llvm-22 has the symbolizer
# that turns the sanitizers' addresses into lines.
test=(libgtest-dev libgmock-dev libcli11-dev redis-tools
  clang-22 clang-tidy-22 clang-format-22 libclang-rt-22-dev llvm-22)
demo=(libcli11-dev redis-tools)
# The peers of the benchmarks: CAF, and Elixir for OTP; containers beside those of tables.
bench=(libbenchmark-dev libcaf-dev elixir libtbb-dev libabsl-dev)

wanted=()
for set_name in "$@"; do
  case "$set_name" in
    core | test | demo | bench) declare -n packages="$set_name" && wanted+=("${packages[@]}") ;;
    *) echo "install_deps: unknown set '$set_name' (core, test, demo, bench)" >&2 && exit 2 ;;
  esac
done
[ ${#wanted[@]} -gt 0 ] || exit 0

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps: not a Debian system; install what corresponds to: ${wanted[*]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  # Newer Debians call a package "installed" in the third word of its status; a removed package
  # with its configuration left is known to dpkg but not installed.
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install_deps: not root and no sudo; as root run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "install_deps: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  # --no-remove: a package of the user's that stands in the way (Boost 1.74) is theirs to remove.
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -y -o APT::Get::Remove=false "$@" >"$log" 2>&1; then
    echo "install_deps: apt-get $1 failed:" >&2
    sed -E 's#[a-z+]+://[^ ]*#<mirror>#g' "$log" | tail -n 20 >&2
    return 1
  fi
}
# Package lists of a fresh container are empty, and those of an old one name files that are gone.
apt update
apt install --no-install-recommends "${missing[@]}"
