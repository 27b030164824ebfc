#!/bin/sh
# eval_block.sh: the policies behind a key cache on the bundled block-wise model: right answers and
# distance from dense. Times are left out, so any machine will do, busy or not, and two runs write the
# same files. Goes on where it was stopped, or with more SAMPLES: records are kept in STATE. Writes
#   table      bench/results/eval_nano_b.csv            every policy by budget and length
#   ablations  bench/results/eval_nano_b_ablations.csv  LoSA and its choices, one changed at a time
#   choosing   bench/results/eval_nano_b_choosing.csv   pages chosen together, and for several steps
# A column `flags` says what each row was run with beyond what the others say.
#   usage: [SAMPLES=50] [STATE=build/eval_block] bench/eval_block.sh [LACUNA] [all | PART]
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
part=${2:-all}
samples=${SAMPLES:-50}
state=${STATE:-build/eval_block}
model=models/nano-b
mkdir -p "$state"

wanted() { [ "$part" = all ] || [ "$part" = "$1" ]; }

# rows LABELS NAMES SAMPLES POLICIES DENSE CTX FLAGS...: evaluates and prints its rows behind LABELS.
# NAMES are the names of the labels, for the header, which is printed once; DENSE tells whether the
# row of dense attention is wanted. The columns are what `lacuna eval` writes, without times.
header=
rows() {
    labels=$1 names=$2 n=$3 policies=$4 dense=$5 ctx=$6
    shift 6
    record=$state/$(printf %s "$policies $ctx $*" | tr -c 'a-z0-9.,-' _).jsonl
    nice -n 10 "$lacuna" eval -m "$model" --tasks kv,niah --ctx "$ctx" --samples "$n" --seed 1 -t 1 \
        --sparse "$policies" --min-prefix 0 --out "$record" --resume --csv -q "$@" >"$state/rows-$part.csv"
    awk -F, -v labels="$labels" -v names="$names" -v dense="$dense" -v header="$header" '
        NR == 1 {
            for (i = 1; i <= NF; i++) {
                if ($i == "policy") policy = i
                if ($i == "ms_per_step") skip = i
            }
        }
        NR == 1 && header { next }
        NR > 1 && !dense && $policy == "off" { next }
        {
            line = NR == 1 ? names : labels
            for (i = 1; i <= NF; i++) if (i != skip) line = line "," $i
            print line
        }' "$state/rows-$part.csv"
    header=printed
}

# ---------------------------------------------------------------- the table
if wanted table; then
    header=
    {
        for ctx in 1024 2048 4096 8192; do
            n=$samples budgets="64 128 256 512 1024"
            [ $ctx -gt 1024 ] || budgets="64 128 256 512"
            [ $ctx -lt 8192 ] || n=$(((samples + 1) / 2)) budgets="128 512 1024"
            rows "" budget "$n" flashblock 1 "$ctx"
            for budget in $budgets; do
                rows "$budget" budget "$n" quest,sparsed,mage,losa "" "$ctx" --budget "$budget"
            done
        done
        for ctx in 128 256 512; do rows "" budget "$samples" off 1 "$ctx"; done
    } >"$state/table.csv"
    cp "$state/table.csv" bench/results/eval_nano_b.csv
fi

# ---------------------------------------------------------------- one choice at a time
# vary WHAT FLAGS...: LoSA on prefixes of 2,048 tokens, of which a row reads `budget`.
vary() {
    what=$1
    shift
    rows "$what,$budget,$*" what,budget,flags "$samples" losa "" 2048 --budget "$budget" "$@"
}

if wanted ablations; then
    header=
    {
        for budget in 512 64; do
            vary default
            vary published --selector pages --page 16 --min-change 0
            vary selector --selector pages --page 16
            vary selector --selector columns
            for s in 0 0.003 0.03 0.1; do vary min_change --min-change $s; done
            for n in 1 2 8 16; do vary active --active $n; done
            for n in 16 32; do vary page --page $n; done
            vary first_layers --sparse-first-layers 1
            vary refresh --refresh-tokens 3
            vary refresh --refresh-steps 4
            vary drift --drift hidden
            vary bounds --selector pages --page 16 --page-bounds int8
            vary first_step --selector pages --page 16 --first-step sparse
        done
    } >"$state/ablations.csv"
    cp "$state/ablations.csv" bench/results/eval_nano_b_ablations.csv
fi

# ---------------------------------------------------------------- who chooses pages, and how often
# choose POLICY FLAGS...: on prefixes of 2,048 tokens; LoSA with QUEST's pages. With --min-change 0 it recomputes
# the rows that moved most, however little, as published.
choose() {
    policy=$1 own=
    shift
    [ "$policy" = quest ] || own="--selector pages --page 16"
    # shellcheck disable=SC2086 # flags
    rows "$budget,$*" budget,flags "$samples" "$policy" "" 2048 --budget "$budget" $own "$@"
}

if wanted choosing; then
    header=
    {
        for budget in 64 512; do
            for policy in quest losa; do
                choose $policy
                choose $policy --plan-group kv
                choose $policy --select-every 4
                choose $policy --plan-group kv --select-every 4
            done
            choose losa --min-change 0
            choose losa --min-change 0 --plan-group kv
            choose losa --min-change 0 --select-every 4
        done
        budget=208 # what the union of rows that choose alone reads at 64
        choose quest --plan-group kv
        choose losa --min-change 0 --plan-group kv
    } >"$state/choosing.csv"
    cp "$state/choosing.csv" bench/results/eval_nano_b_choosing.csv
fi
