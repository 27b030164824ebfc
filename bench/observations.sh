#!/bin/sh
# observations.sh: the three observations behind SparseD (arXiv 2509.24014), measured on the bundled
# model: heads differ, patterns hardly change over steps, early steps matter. Greedy generations of 64
# tokens in 64 steps behind pieces of a book, f32. Writes two CSV files and two pictures:
#   bench/results/observations.csv        how alike patterns are between heads and over steps
#   bench/results/observations_early.csv  tokens that agree with dense, by the first sparse step
#   docs/pictures/masks-{dense,sparsed}.svg
#   usage: bench/observations.sh [LACUNA] [DOCUMENTS] [all | heads | early]
set -eu
cd "$(dirname "$0")/.."
lacuna=${1:-build/release/lacuna}
documents=${2:-8}
part=${3:-all}
book=examples/texts/railway-children.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# run CONTEXT DOCUMENT FLAGS...: one generation; ids of its tokens in $ids.
run() {
    context=$1 document=$2
    shift 2
    tail -c +$((1 + document * 12000)) "$book" | head -c $((context - 64)) >"$scratch/text"
    ids=$("$lacuna" run -m models/nano-f -f "$scratch/text" -c "$context" -n 64 --steps 64 --ignore-eos \
        --dtype f32 --seed 1 -q --json "$@" | grep -o '"ids":\[[^]]*\]')
}

# ---------------------------------------------------------------- heads and steps
if [ "$part" != early ]; then
# likeness: Jaccard index of the kept blocks. retained: share of a later step's softmax that an earlier
# step's blocks hold, over the share that the later step's own best blocks hold. from and to are steps.
table=bench/results/observations.csv
echo "context,document,select,measure,from,to,value" >"$table"
for context in 512 1024 2048; do
    for document in 0 1 2; do
        run "$context" "$document" --sparse off --measure --trace "$scratch/trace" --trace-masks
        for select in 0.1 0.3; do
            "$lacuna" inspect --masks "$scratch/trace" --select "$select" -o "$scratch/m.csv"
            awk -F, -v row="$context,$document,$select" '
                $1 == "head_likeness" && $2 < $3 {
                    same = int($2 / 4) == int($3 / 4)
                    sum[same] += $4; n[same]++
                    if (!(same in least) || $4 < least[same]) least[same] = $4
                    if ($4 > most[same]) most[same] = $4
                }
                $1 == "step_likeness" { like[$2, $3] = $4 }
                $1 == "retained_mass" { kept[$2, $3] = $4 }
                END {
                    for (same = 0; same < 2; same++) {
                        where = same ? "same_layer" : "other_layer"
                        printf "%s,heads_%s_mean,,,%.4f\n", row, where, sum[same] / n[same]
                        printf "%s,heads_%s_min,,,%.4f\n", row, where, least[same]
                        printf "%s,heads_%s_max,,,%.4f\n", row, where, most[same]
                    }
                    for (lag = 1; lag < 64; lag *= 2) {
                        all = 0
                        for (t = 0; t + lag < 64; t++) all += like[t, t + lag]
                        printf "%s,steps_likeness_lag,0,%d,%.4f\n", row, lag, all / (64 - lag)
                    }
                    split("0 3 6 12 16 32", from, " ")
                    split("1 4 8 16 32 48 63", to, " ")
                    for (i = 1; i <= 6; i++)
                        for (k = 1; k <= 7; k++)
                            if (to[k] > from[i]) {
                                printf "%s,steps_likeness,%d,%d,%.4f\n", row, from[i], to[k], like[from[i], to[k]]
                                printf "%s,steps_retained,%d,%d,%.4f\n", row, from[i], to[k],
                                    kept[from[i], to[k]] / kept[to[k], to[k]]
                            }
                    for (i = 1; i <= 7; i++)
                        printf "%s,own_mass,%d,%d,%.4f\n", row, to[i], to[i], kept[to[i], to[i]]
                }' "$scratch/m.csv" >>"$table"
        done
    done
done
mkdir -p docs/pictures
run 1024 0 --sparse off --measure --masks docs/pictures/masks-dense.svg
run 1024 0 --sparse sparsed --masks docs/pictures/masks-sparsed.svg
fi
[ "$part" != heads ] || exit 0

# ---------------------------------------------------------------- early steps
table=bench/results/observations_early.csv
echo "context,document,select,skip,dense_steps,tokens,agree,first_difference" >"$table"
context=1024
for document in $(seq 0 $((documents - 1))); do
    run "$context" "$document" --sparse off
    dense=$ids
    for select in 0.1 0.3; do
        for skip in 0 0.05 0.1 0.2 0.25 0.5 "switch auto" "refresh auto"; do
            case $skip in
            switch*) run "$context" "$document" --sparse sparsed --select "$select" --switch auto ;;
            refresh*) run "$context" "$document" --sparse sparsed --select "$select" --refresh auto ;;
            *) run "$context" "$document" --sparse sparsed --select "$select" --skip "$skip" ;;
            esac
            printf '%s\n%s\n' "$dense" "$ids" | sed 's/"ids":\[//; s/\]//' |
                awk -F, -v row="$context,$document,$select,$skip" -v skip="$skip" '
                    NR == 1 { n = NF; for (i = 1; i <= NF; i++) want[i] = $i }
                    NR == 2 {
                        first = n
                        for (i = 1; i <= n; i++)
                            if ($i == want[i]) agree++
                            else if (first == n) first = i - 1
                        steps = int(64 * skip)
                        if (skip ~ /^refresh/) steps = 12 # of 64, and those that measure again
                        dense = skip ~ /^switch/ ? "" : steps > 1 ? steps : 1
                        printf "%s,%s,%d,%d,%d\n", row, dense, n, agree, first
                    }' >>"$table"
        done
    done
done
