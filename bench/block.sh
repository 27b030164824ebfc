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

# rows PREFIXES POLICIES FLAGS...: the first call prints the header too.
first=1
rows() {
    prefixes=$1 policies=$2
    shift 2
    "$lacuna" bench block --shape sdar-8b --layers 1 --prefix "$prefixes" --block-length 16 --active 5 --budget 0.1 \
        --sparse "$policies" --agreement "$agreement" --csv "$@" | tail -n +$first
    first=2
}

rows "$prefix" losa,quest,mage,sparsed,flashblock,off --refresh-tokens 0 --batch 1,4 -t 1,2
# LoSA as published: pages of 16 by bounds of their scores, chosen in each step.
rows "$prefix" losa,off --selector pages --page 16 --batch 1 -t 1,2
# Vectors in place of AMX, where dense is slower.
LAC_ISA=avx512_bf16
export LAC_ISA
rows "$prefix" losa,quest,off --batch 1 -t 1
rows "$prefix" losa,off --selector pages --page 16 --batch 1 -t 1
