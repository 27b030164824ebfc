#!/bin/sh
# memory.sh: peak resident size of a generation against what `lacuna inspect` predicted, as CSV on
# stdout. Needs GNU time (/usr/bin/time).
#   usage: bench/memory.sh [LACUNA] > bench/results/memory.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo "model,context,dtype,bytes_predicted,bytes_peak,peak_over_predicted"
for context in 256 1024 4096 16000; do
    for dtype in bf16 f32; do
        head -c $((context - 32)) examples/texts/railway-children.txt >"$scratch/text"
        predicted=$("$lacuna" inspect -m models/nano-f -c "$context" --dtype "$dtype" --json |
            sed -n 's/.*"bytes_total":\([0-9]*\).*/\1/p')
        /usr/bin/time -f %M -o "$scratch/peak" "$lacuna" run -m models/nano-f -f "$scratch/text" \
            -c "$context" -n 32 --steps 1 --dtype "$dtype" --ignore-eos -q >/dev/null 2>&1
        echo "$predicted $(cat "$scratch/peak")" | awk -v at="nano-f,$context,$dtype" \
            '{ printf "%s,%d,%d,%.3f\n", at, $1, $2 * 1024, $2 * 1024 / $1 }'
    done
done
