#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: explores each fuzz target, or those named, for SECONDS (default 60),
# beginning with its corpus. New inputs stay in build/fuzz/corpus; a crash is written beside it and
# ends the script.
set -eu
cd "$(dirname "$0")/.."

case ${1:-60} in
-h | --help) sed -n '2,4s/^# //p' "$0"; exit 0 ;;
'' | *[!0-9]*) echo "usage: scripts/fuzz.sh [SECONDS [TARGET...]]" >&2; exit 2 ;;
esac
seconds=${1:-60}
[ $# -eq 0 ] || shift
for name in "$@"; do
    [ -f "tests/fuzz/$name.c" ] || { echo "fuzz: no target tests/fuzz/$name.c" >&2; exit 2; }
done
targets=$*
[ -n "$targets" ] || targets=$(for source in tests/fuzz/fuzz_*.c; do basename "$source" .c; done)

scripts/setup.sh fuzz
cmake --preset fuzz >/dev/null
# shellcheck disable=SC2086 # one word each
cmake --build --preset fuzz -j "$(nproc)" --target $targets
export LACUNA_TEST_ROOT="$PWD" OMP_NUM_THREADS=1
n=0
for name in $targets; do
    mkdir -p "build/fuzz/corpus/$name" "build/fuzz/crashes"
    seeds="tests/fuzz/corpus/$name"
    [ -d "$seeds" ] || seeds=''
    dictionary=''
    [ ! -f "tests/fuzz/$name.dict" ] || dictionary="-dict=tests/fuzz/$name.dict"
    echo "== $name, $seconds s"
    # shellcheck disable=SC2086 # absent seeds and dictionary vanish
    "build/fuzz/tests/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -verbosity=0 $dictionary -artifact_prefix=build/fuzz/crashes/ \
        "build/fuzz/corpus/$name" $seeds
    n=$((n + 1))
done
echo "fuzz: $n targets, no crash"
