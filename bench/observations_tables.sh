#!/bin/sh
# observations_tables.sh: the tables of docs/results-sparsed.md, as markdown, from what
# bench/observations.sh wrote. Means over documents.
#   usage: bench/observations_tables.sh
set -eu
cd "$(dirname "$0")/.."

awk -F, '
    NR > 1 {
        key = $1 SUBSEP $3 SUBSEP $4 SUBSEP $5 SUBSEP $6
        sum[key] += $7; n[key]++
        if (!(key in least) || $7 < least[key]) least[key] = $7
        if ($7 > most[key]) most[key] = $7
    }
    function mean(c, s, what, from, to,   key) {
        key = c SUBSEP s SUBSEP what SUBSEP from SUBSEP to
        return n[key] ? sprintf("%.3f", sum[key] / n[key]) : "-"
    }
    END {
        n_c = split("512 1024 2048", context, " "); n_s = split("0.1 0.3", select, " ")
        print "| context | kept | same layer: mean | least | most | other layers: mean | least | most |"
        print "| --- | --- | --- | --- | --- | --- | --- | --- |"
        for (c = 1; c <= n_c; c++)
            for (s = 1; s <= n_s; s++) {
                printf "| %d | %d%% |", context[c], 100 * select[s]
                split("same_layer other_layer", where, " ")
                for (w = 1; w <= 2; w++)
                    printf " %s | %s | %s |", mean(context[c], select[s], "heads_" where[w] "_mean", "", ""),
                        mean(context[c], select[s], "heads_" where[w] "_min", "", ""),
                        mean(context[c], select[s], "heads_" where[w] "_max", "", "")
                print ""
            }
        print ""
        print "| context | kept | 1 step apart | 2 | 4 | 8 | 16 | 32 |"
        print "| --- | --- | --- | --- | --- | --- | --- | --- |"
        for (c = 1; c <= n_c; c++)
            for (s = 1; s <= n_s; s++) {
                printf "| %d | %d%% |", context[c], 100 * select[s]
                for (lag = 1; lag < 64; lag *= 2)
                    printf " %s |", mean(context[c], select[s], "steps_likeness_lag", 0, lag)
                print ""
            }
        print ""
        print "| context | kept | pattern of step | at step 16 | 32 | 48 | 63 | own pattern of step 63 |"
        print "| --- | --- | --- | --- | --- | --- | --- | --- |"
        n_f = split("0 3 6 12", from, " "); n_t = split("16 32 48 63", to, " ")
        for (c = 1; c <= n_c; c++)
            for (s = 1; s <= n_s; s++)
                for (f = 1; f <= n_f; f++) {
                    printf "| %d | %d%% | %d |", context[c], 100 * select[s], from[f]
                    for (t = 1; t <= n_t; t++)
                        printf " %s |", mean(context[c], select[s], "steps_retained", from[f], to[t])
                    printf " %s |\n", mean(context[c], select[s], "own_mass", 63, 63)
                }
    }' bench/results/observations.csv
[ -e bench/results/observations_early.csv ] || exit 0
echo
awk -F, '
    NR > 1 {
        key = $3 SUBSEP $4
        same[key] += $7; all[key] += $6; first[key] += $8; n[key]++
        whole[key] += $7 == $6; dense[key] = $5
        seen[$4] = 1
    }
    END {
        print "| kept | skip | dense steps | tokens as dense | tokens before the first difference, of 64 | texts equal |"
        print "| --- | --- | --- | --- | --- | --- |"
        n_s = split("0.1 0.3", select, " "); n_k = split("0 0.05 0.1 0.2 0.25 0.5", skip, " ")
        for (s = 1; s <= n_s; s++)
            for (k = 1; k <= n_k; k++) {
                key = select[s] SUBSEP skip[k]
                if (n[key])
                    printf "| %d%% | %s | %d | %.1f%% | %.1f | %d of %d |\n", 100 * select[s], skip[k],
                        dense[key], 100 * same[key] / all[key], first[key] / n[key], whole[key], n[key]
            }
    }' bench/results/observations_early.csv
