#!/bin/sh
# generate.sh: whole generations of a LLaDA-8B-shaped model by context, policy and steps, composed of
# measured steps, as CSV on stdout. DENSITY is what --sparse fidelity was measured to read on a trained
# model; random weights cannot tell it, so without it that policy is left out. A quiet machine.
#   usage: bench/generate.sh [LACUNA] [THREADS] [DENSITY] > bench/results/generate.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
threads=${2:-2}
density=${3:-}
policies=sparsed,window,streaming
[ -z "$density" ] || policies=$policies,fidelity

# shellcheck disable=SC2086 # an absent density vanishes
"$lacuna" bench generate --shape llada-8b --layers 1 --ctx 4096,8192,16384,32768,65536 --steps 128,1024 \
    --sparse "$policies" --skip 0.2 --select 0.3 ${density:+--density $density} -t "$threads" --csv
