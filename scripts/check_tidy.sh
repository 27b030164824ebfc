#!/bin/sh
# check_tidy.sh [BUILD]: clang-tidy over the library and the program, by the rules of .clang-tidy and
# the compile commands of BUILD (build/release). Exit 1 on a finding, 77 (skip) without clang-tidy
# 14, the version the rules were tried with: others find other things.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
version=$(clang-tidy --version 2>/dev/null | sed -n 's/.*version \([0-9]*\).*/\1/p' | head -n 1)
[ "$version" = 14 ] || { echo "check_tidy: clang-tidy 14 is not installed, skipped"; exit 77; }
[ -f "$build/compile_commands.json" ] || { echo "check_tidy: no compile_commands.json in $build" >&2; exit 1; }
find src tools -name '*.c' | grep -v tools/bench | sort |
    xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" 2>/dev/null
