#!/bin/bash
# shared_machine.sh: the bundled model on cores that others use too, as CSV on stdout. Two builds of the
# program take turns; a round is one turn of each. 512 positions, 128 tokens.
#   usage: bench/shared_machine.sh [LACUNA] [OTHER] [ROUNDS] > bench/results/shared_machine.csv
# Cases: one run, one thread; alone, default threads; two and four runs at once; one beside a loop that never waits;
# eight threads a core. wall: seconds until the last run has ended. cpu: processor seconds of all runs.
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
other=${2:-}
rounds=${3:-7}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
head -c 384 examples/texts/railway-children.txt >"$folder/prompt"
cores=$("$lacuna" run -m models/nano-f -p x -n 1 -q --json | sed -n 's/.*"threads":\([0-9]*\).*/\1/p')

# turn PROGRAM RUNS BESIDE [FLAGS]: "wall user sys"; BESIDE is 1 with the loop.
turn() {
    local program=$1 runs=$2 beside=$3 loop=
    shift 3
    if [ "$beside" = 1 ]; then
        timeout 120 sh -c 'while :; do :; done' &
        loop=$!
    fi
    (
        TIMEFORMAT='%R %U %S'
        time {
            for ((i = 0; i < runs; i++)); do
                "$program" run -m models/nano-f -f "$folder/prompt" -c 512 -n 128 --seed 1 --ignore-eos -q "$@" \
                    >"$folder/text" &
            done
            wait
        }
    ) 2>&1
    if [ -n "$loop" ]; then
        kill "$loop"
        wait "$loop" 2>/dev/null || true
    fi
}

# case NAME RUNS BESIDE [FLAGS]
case_of() {
    local name=$1 round build program
    shift
    for ((round = 0; round < rounds; round++)); do
        for build in this other; do
            program=$lacuna
            [ $build = this ] || program=$other
            [ -n "$program" ] || continue
            turn "$program" "$@" >>"$folder/$name.$build"
        done
    done
    for build in this other; do
        [ -s "$folder/$name.$build" ] || continue
        awk -v name="$name" -v build=$build -v runs="$1" -v cores="$cores" '
            { wall[NR] = $1; cpu[NR] = $2 + $3 }
            function sort(a, n,   i, j, x) {
                for (i = 2; i <= n; i++) {
                    x = a[i]
                    for (j = i - 1; j && a[j] > x; j--) a[j + 1] = a[j]
                    a[j + 1] = x
                }
            }
            END {
                sort(wall, NR); sort(cpu, NR); middle = int((NR + 1) / 2)
                printf "%s,%s,%d,%d,%d,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f\n", name, build, cores, runs, NR, wall[1],
                    wall[middle], wall[NR], cpu[1], cpu[middle], cpu[NR]
            }' "$folder/$name.$build"
    done
}

echo "case,build,cores,runs,rounds,wall_min,wall_median,wall_max,cpu_min,cpu_median,cpu_max"
case_of one_thread 1 0 -t 1
case_of alone 1 0
case_of two_at_once 2 0
case_of four_at_once 4 0
case_of beside_a_loop 1 1
case_of threads_above_cores 1 0 -t $((8 * cores))
