#!/bin/sh
# long.sh: one layer of the shape of LLaDA-8B at very long contexts, dense, measuring and sparse, once, with the
# program's peak memory, as CSV on stdout: what bench generate reports and a column peak_gib. Minutes to hours.
#   usage: bench/long.sh [LACUNA] [CONTEXTS] [THREADS] > bench/results/long.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
contexts=${2:-131072 262144}
threads=${3:-2}
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

header=1
for context in $contexts; do
    "$lacuna" bench generate --shape llada-8b --layers 1 --ctx "$context" --steps 1024 --sparse sparsed --skip 0.2 \
        --select 0.3 -t "$threads" --repeat 1 --csv -q >"$rows" &
    # The peak is read while the program lives.
    peak=0
    while kib=$(awk '/^VmHWM/ { print $2 }' "/proc/$!/status" 2>/dev/null) && [ -n "$kib" ]; do
        peak=$kib
        sleep 0.2
    done
    wait $!
    awk -v peak="$peak" -v header="$header" '
        NR == 1 { if (header) print $0 ",peak_gib" }
        NR > 1 { printf "%s,%.2f\n", $0, peak / 1048576 }' "$rows"
    header=0
done
