#!/bin/sh
# eval_full.sh: what sparse attention costs the bundled full-sequence model in quality, as CSV files: a column
# "variant" that names the setting, then the columns of `lacuna eval --csv`. Goes on where it was stopped.
#   bench/results/eval_nano_f.csv       every policy at 1,024, 2,048 and (half the samples) 4,096 positions
#   bench/results/ablations_nano_f.csv  one thing changed at a time, 1,024 positions
#   usage: bench/eval_full.sh [LACUNA] [all | main | ablations] [SAMPLES] [THREADS]
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
part=${2:-all}
samples=${3:-50}
threads=${4:-2}
tasks=kv,niah,niah1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# rows FILE CONTEXT VARIANT FLAGS...: evaluates some settings, unless the file has them. VARIANT names them; "="
# stands for the policy, and for dense too, which is left out otherwise.
rows() {
    file=bench/results/$1 context=$2 variant=$3
    shift 3
    known=$variant
    [ "$variant" != = ] || known=off
    ! grep -qs "^$known,[a-z0-9]*,$context," "$file" || return 0
    n=$samples
    [ "$context" -lt 4096 ] || n=$(((samples + 1) / 2))
    "$lacuna" eval -m models/nano-f --tasks kv,niah --ctx "$context" --samples "$n" --seed 1 -t "$threads" \
        --csv -q "$@" >"$scratch/rows"
    [ -s "$file" ] || sed 's/^/variant,/;q' "$scratch/rows" >"$file"
    awk -F, -v variant="$variant" '
        NR > 1 && variant == "=" { print $3 "," $0 }
        NR > 1 && variant != "=" && $3 != "off" { print variant "," $0 }' "$scratch/rows" >>"$file"
    echo "eval_full.sh: $context $variant" >&2
}

if [ "$part" != ablations ]; then
    for context in 1024 2048 4096; do
        rows eval_nano_f.csv $context = --sparse window,streaming,sparsed,pulsecol,fidelity
        rows eval_nano_f.csv $context "sparsed 0.5" --sparse sparsed --select 0.5
        rows eval_nano_f.csv $context "fidelity up to 0.15" --sparse fidelity --select 0.15
        rows eval_nano_f.csv $context "fidelity up to 0.1" --sparse fidelity --select 0.1
    done
fi
if [ "$part" != main ]; then
    change() { # VARIANT FLAGS...
        variant=$1
        shift
        rows ablations_nano_f.csv 1024 "$variant" --sparse sparsed "$@"
    }
    rows ablations_nano_f.csv 1024 = --sparse sparsed
    change "no skip" --skip 0
    # An answer takes 8 steps: skip below 0.125 is none.
    change "skip 0.25" --skip 0.25
    change "skip 0.5" --skip 0.5
    for select in 0.05 0.1 0.2 0.4 0.5 0.7; do
        change "select $select" --select $select
    done
    change "no isolation" --sparsed-isolated none
    change "no reuse" --sparsed-reset step
    change "published code" --sparsed-mode reference
    change "blocks of 16" --sparse-block 16
    change "blocks of 128" --sparse-block 128
    change "switch auto" --switch auto
    change "refresh auto" --refresh auto
    change "switch and refresh auto" --switch auto --refresh auto
    for fidelity in 0.8 0.9 0.95 0.99; do
        change "fidelity $fidelity" --fidelity $fidelity
    done
    for select in 0.3 0.2 0.15 0.1 0.05; do
        change "fidelity 0.95 up to $select" --fidelity 0.95 --select $select
    done
fi
