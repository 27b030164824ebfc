#!/bin/sh
# step_times.sh: time and memory of denoising steps of the bundled model by context, as CSV on stdout.
# Each row is one generation of 32 tokens in 8 steps behind a document of the asked length; dense
# attention; wall time of a step is the median of RUNS generations.
#   usage: bench/step_times.sh [LACUNA] [RUNS] > bench/results/step_times.csv
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
runs=${2:-5}
document=examples/texts/railway-children.txt
field() { printf '%s' "$1" | tr ',{}' '\n\n\n' | sed -n "s/^\"$2\":\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" | head -n 1; }

echo "model,context,n_prompt,dtype,threads,sparse,steps,tokens_per_forward,ms_per_step_min,ms_per_step_median,ms_per_step_max,bytes_predicted"
for context in 512 1024 2048 4096 8192; do
    for dtype in bf16 f32; do
        times=""
        for run in $(seq "$runs"); do
            head -c $((context - 32)) "$document" >/tmp/lacuna_bench.$$
            json=$("$lacuna" run -m models/nano-f -f /tmp/lacuna_bench.$$ -c "$context" -n 32 --steps 8 \
                --dtype "$dtype" --temp 0 --seed 1 --ignore-eos --json -q)
            times="$times $(field "$json" ms_per_step)"
        done
        plan=$("$lacuna" inspect -m models/nano-f -c "$context" --dtype "$dtype" --json)
        sorted=$(printf '%s\n' $times | sort -n | awk '{ printf "%.2f\n", $1 }')
        echo "nano-f,$context,$(field "$json" n_prompt),$dtype,$(field "$json" threads),$(field "$json" sparse),$(field "$json" steps),$(field "$json" tokens_per_forward),$(echo "$sorted" | head -n 1),$(echo "$sorted" | sed -n "$(((runs + 1) / 2))p"),$(echo "$sorted" | tail -n 1),$(field "$plan" bytes_total)"
    done
done
rm -f /tmp/lacuna_bench.$$
