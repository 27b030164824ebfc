#!/bin/sh
# generate.sh: whole generations of a LLaDA-8B-shaped model by context, policy and steps, composed of
# measured steps, as CSV on stdout. Over random weights fidelity keeps as much as --select allows. A quiet
# machine. The longest context is measured once: a dense step takes minutes there.
#   usage: bench/generate.sh [LACUNA] [THREADS] > bench/results/generate.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
threads=${2:-2}
header=1

# rows CONTEXTS POLICIES REPEATS SKIP SELECT
rows() {
    "$lacuna" bench generate --shape llada-8b --layers 1 --ctx "$1" --steps 128,1024 --sparse "$2" \
        --skip "$4" --select "$5" -t "$threads" --repeat "$3" --csv | tail -n +$((2 - header))
    header=0
}

rows 4096,8192,16384 sparsed,window,streaming 3 0.2 0.3
rows 32768 sparsed,window,streaming 2 0.2 0.3
rows 65536 sparsed 1 0.2 0.3
for select in 0.15 0.1; do
    rows 16384 fidelity 3 0.05 $select
    rows 65536 fidelity 1 0.05 $select
done
# Vectors in place of AMX: products are slower by more than attention is, which has the larger share of a step.
LAC_ISA=avx512_bf16
export LAC_ISA
rows 16384,65536 sparsed 1 0.2 0.3
