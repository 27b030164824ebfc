#!/bin/sh
# kernels.sh: times the kernels at every instruction set level of this machine, as CSV files:
# peak.csv, attn.csv, decode.csv, gemm.csv and step.csv. Takes some ten minutes; nothing else should run.
#   usage: bench/kernels.sh [LACUNA] [FOLDER]
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
folder=${2:-bench/results}
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
levels=${LEVELS:-"amx avx512_bf16 avx512 avx2"}

# Appends the rows of one run at one level, and the header if the file is new.
row() { # FILE LEVEL ARGUMENTS...
    file=$folder/$1.csv
    level=$2
    shift 2
    LAC_ISA=$level "$lacuna" bench "$@" --csv -q >"$rows"
    [ -s "$file" ] || head -n 1 "$rows" >"$file"
    tail -n +2 "$rows" >>"$file"
}

for name in peak attn decode gemm step; do rm -f "$folder/$name.csv"; done
for level in $levels; do
    got=$(LAC_ISA=$level "$lacuna" bench gemm --m 16 --n 64 --k 64 -t 1 --repeat 1 --csv -q | tail -n 1 | cut -d, -f9)
    [ "$got" = "$level" ] || { echo "kernels.sh: no $level here" >&2; continue; }
    echo "kernels.sh: $level" >&2
    row peak "$level" peak -t 1,2
    # Levels without bf16 products do their arithmetic in f32, whatever the type.
    type=f32
    case $level in amx | avx512_bf16) type=bf16 ;; esac
    row attn "$level" attn --ctx 256,512,1024,4096 --heads 4 --head-dim 128 --dtype $type -t 1
    row attn "$level" attn --ctx 4096 --heads 4 --head-dim 64,80,96,256 --dtype $type -t 1 --repeat 3
    row attn "$level" attn --ctx 4096 --heads 8 --head-dim 128 --dtype $type -t 2
    for scores in peaky rising; do
        row attn "$level" attn --ctx 4096 --heads 4 --head-dim 128 --dtype $type -t 1 --repeat 3 \
            --scores $scores
    done
    row attn "$level" attn --ctx 8192 --heads 4 --head-dim 128 --dtype $type -t 1 --block 64,128 \
        --density 1.0,0.5,0.3,0.1 --stats on --repeat 3
    [ $type = bf16 ] || row attn "$level" attn --ctx 4096 --heads 4 --head-dim 128 --dtype bf16 -t 1
    for queries in 16 1; do
        active=5
        [ $queries = 16 ] || active=1
        row decode "$level" decode --prefix 32768 --queries $queries --active $active --pages 0.1 \
            --heads 32 --kv-heads 8 --head-dim 128 -t 1
    done
    row gemm "$level" gemm --m 16,128,1024 --n 4096 --k 4096 --dtype $type -t 1 --repeat 3
done
for level in amx avx512_bf16; do
    row step "$level" step --shape llada-8b --layers 1 --ctx 4096 -t 2 --repeat 2
done
