#!/bin/sh
# domains.sh: does a pattern belong to the model, the kind of text or the one prompt? The bundled model
# generates behind pieces of five kinds of text, densely and measured. Then every run's patterns are held
# against the softmax of every other run, head by head (`lacuna inspect --masks --against`), and the pattern
# of SparseD's switching step against later steps of its own run. Greedy, f32, blocks of 32.
#   bench/results/domains.csv        from,to: kinds of text; held = share of the softmax that a pattern of
#                                    another prompt holds over what the run's own patterns hold; mean and least
#                                    over pairs of prompts
#   bench/results/domains_steps.csv  the same for the pattern of step 6 of 32 at later steps
#   usage: bench/domains.sh [LACUNA] [DOCUMENTS] [CONTEXT]
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
documents=${2:-3}
context=${3:-1024}
select=0.3
kinds="prose code table haystack letters"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Text of a kind; pieces of 12,000 bytes apart are documents.
cat examples/texts/railway-children.txt >"$scratch/prose.txt"
cat src/engine/*.c src/attention/*.c >"$scratch/code.txt"
cat bench/results/peak.csv bench/results/attn.csv bench/results/observations.csv >"$scratch/table.txt"
"$lacuna" eval -m models/nano-f --tasks kv,niah --ctx 4096 --samples 8 --seed 3 --export "$scratch/kv.jsonl" -q
sed 's/.*"input":"//; s/","outputs".*//; s/\\n/ /g; s/\\"/"/g' "$scratch/kv.jsonl" >"$scratch/haystack.txt"
awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) printf "%c", 97 + int(26 * rand()) }' >"$scratch/letters.txt"

for kind in $kinds; do
    for document in $(seq 0 $((documents - 1))); do
        tail -c +$((1 + document * 12000)) "$scratch/$kind.txt" | head -c $((context - 32)) >"$scratch/text"
        "$lacuna" run -m models/nano-f -f "$scratch/text" -c "$context" -n 32 --steps 32 --ignore-eos \
            --dtype f32 --seed 1 -q --sparse off --measure --trace "$scratch/$kind.$document" --trace-masks \
            --sparse-block 32 >"$scratch/out"
    done
done

table=bench/results/domains.csv
steps=bench/results/domains_steps.csv
echo "context,select,from,to,head,pairs,held_mean,held_least,own_mean" >"$table"
echo "context,select,kind,document,from,to,held" >"$steps"
for from in $kinds; do
    for to in $kinds; do
        for a in $(seq 0 $((documents - 1))); do
            for b in $(seq 0 $((documents - 1))); do
                [ "$from.$a" != "$to.$b" ] || continue
                "$lacuna" inspect --masks "$scratch/$from.$a" --against "$scratch/$to.$b" \
                    --select "$select" -o "$scratch/x.csv"
                cat "$scratch/x.csv"
            done
        done | awk -F, -v row="$context,$select,$from,$to" '
            $1 == "cross_mass" { cross[$2] = $4 }
            $1 == "own_mass" {
                held = cross[$2] / $4
                n[$2]++; sum[$2] += held; own[$2] += $4
                if (!($2 in least) || held < least[$2]) least[$2] = held
            }
            END {
                for (head = 0; n[head] > 0; head++)
                    printf "%s,%d,%d,%.4f,%.4f,%.4f\n", row, head, n[head], sum[head] / n[head],
                        least[head], own[head] / n[head]
            }' >>"$table"
    done
    for a in $(seq 0 $((documents - 1))); do
        "$lacuna" inspect --masks "$scratch/$from.$a" --select "$select" -o "$scratch/x.csv"
        awk -F, -v row="$context,$select,$from,$a" '
            $1 == "retained_mass" { held[$2, $3] = $4 }
            END {
                for (to = 12; to < 32; to += to < 28 ? 4 : 3)
                    printf "%s,6,%d,%.4f\n", row, to, held[6, to] / held[to, to]
            }' "$scratch/x.csv" >>"$steps"
    done
done
