#!/bin/sh
# generate.sh: whole generations of a LLaDA-8B-shaped model by context, policy and steps, composed of
# measured steps, as CSV on stdout. DENSITY is what --sparse fidelity was measured to read on a trained
# model; random weights cannot tell it, so without it that policy is left out. A quiet machine.
# The longest context is measured once, and for SparseD alone: a dense step takes minutes there.
#   usage: bench/generate.sh [LACUNA] [THREADS] [DENSITY] > bench/results/generate.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
threads=${2:-2}
density=${3:-}
header=1

# rows CONTEXTS POLICIES REPEATS
rows() {
    policies=$2
    [ -z "$density" ] || policies=$policies,fidelity
    # shellcheck disable=SC2086 # an absent density vanishes
    "$lacuna" bench generate --shape llada-8b --layers 1 --ctx "$1" --steps 128,1024 --sparse "$policies" \
        --skip 0.2 --select 0.3 ${density:+--density $density} -t "$threads" --repeat "$3" --csv |
        tail -n +$((2 - header))
    header=0
}

rows 4096,8192,16384 sparsed,window,streaming 3
rows 32768 sparsed,window,streaming 2
rows 65536 sparsed 1
# Vectors in place of AMX: products are slower by more than attention is, which has the larger share of a step.
LAC_ISA=avx512_bf16
export LAC_ISA
rows 16384,65536 sparsed 1
