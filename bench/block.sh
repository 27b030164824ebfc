#!/bin/sh
# block.sh: denoising steps of an SDAR-8B-shaped model behind a key cache, by prefix, batch, threads and
# policy, as CSV on stdout: 5 of 16 positions change, 10% of the prefix is read; flashblock is a step between
# two refreshes. AGREEMENT sets the union inflation of the made-up keys (docs/policies-blockwise.md). A quiet
# machine with 16 GiB; PREFIX is for a smaller one, or a quick look.
#   usage: bench/block.sh [LACUNA] [AGREEMENT] [PREFIX] > bench/results/block.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
agreement=${2:-0.15}
prefix=${3:-8192,32768,65536,131072}

"$lacuna" bench block --shape sdar-8b --layers 1 --prefix "$prefix" --block-length 16 --active 5 --budget 0.1 \
    --batch 1,4 --sparse losa,quest,mage,sparsed,flashblock,off --refresh-tokens 0 \
    --agreement "$agreement" -t 1,2 --csv
# Larger pages, whose bounds are less to read; and vectors in place of AMX, where dense is slower.
"$lacuna" bench block --shape sdar-8b --layers 1 --prefix "$prefix" --block-length 16 --active 5 --budget 0.1 \
    --page 64 --sparse losa,quest,off --agreement "$agreement" -t 1 --csv | tail -n +2
LAC_ISA=avx512_bf16 "$lacuna" bench block --shape sdar-8b --layers 1 --prefix "${prefix%%,*}" --block-length 16 \
    --active 5 --budget 0.1 --page 64 --sparse losa,quest,off --agreement "$agreement" -t 1 --csv | tail -n +2
