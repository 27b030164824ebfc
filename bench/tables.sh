#!/bin/sh
# tables.sh: fills the tables of the documents from bench/results. In a document a table stands between the
# lines "<!-- table: NAME -->" and "<!-- end -->"; what is between them is replaced by what table_NAME prints.
#   usage: bench/tables.sh [--check] [DOCUMENT...]   (default: every document that has a table)
# With --check nothing is written: exit 1 and a line for each document whose tables are not those of the
# results. A result file that is not there gives a line that says so.
set -eu
cd "$(dirname "$0")/.."
results=bench/results
tab='
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    function c(name) {
        if (!(name in column)) { print "no column " name " in " FILENAME >"/dev/stderr"; exit 1 }
        return $(column[name])
    }
    function head(titles,   n, t, i) {
        n = split(titles, t, "|")
        printf "|"; for (i = 1; i <= n; i++) printf " %s |", t[i]
        printf "\n|"; for (i = 1; i <= n; i++) printf "---|"
        print ""
    }
    function percent(x) { return sprintf("%.0f%%", 100 * x) }
    function known(x, format) { return x == "" ? "" : sprintf(format, x) }
'

# table FILE PROGRAM: an awk program over one result file.
table() {
    if [ -s "$results/$1" ]; then
        awk -F, "$tab $2" "$results/$1"
    else
        echo "Not measured yet: $results/$1 does not exist."
    fi
}

# ---------------------------------------------------------------- threads

table_shared_machine() {
    table shared_machine.csv '
        {
            if (!(c("case") in seen)) { seen[c("case")] = 1; order[++n] = c("case") }
            wall[c("case"), c("build")] = c("wall_min")
            cpu[c("case"), c("build")] = c("cpu_min")
        }
        END {
            head("case|wall, s|threads before|processor, s|threads before")
            for (i = 1; i <= n; i++) {
                name = order[i]; gsub("_", " ", name)
                printf "| %s | %s | %s | %s | %s |\n", name, known(wall[order[i], "this"], "%.2f"),
                    known(wall[order[i], "other"], "%.2f"), known(cpu[order[i], "this"], "%.2f"),
                    known(cpu[order[i], "other"], "%.2f")
            }
        }'
}

# ---------------------------------------------------------------- kernels

table_kernels_dense() {
    table attn.csv '
        c("policy") == "dense" && c("stats") == "off" && c("scores") == "random" && c("ctx") < 8192 &&
            !(c("isa") ~ /avx(2|512)$/ && c("dtype") == "bf16") {
            level = c("isa") ", " c("dtype")
            if (!(level in seen)) { seen[level] = 1; order[++n] = level }
            what = c("threads") == 2 ? "2t" : c("d_head") == 128 ? c("ctx") : "d" c("d_head")
            share[level, what] = percent(c("peak_share"))
            if (what == 4096) {
                rate[level] = sprintf("%.0f", c("gflops"))
                error[level] = sprintf("%.1e", c("rel_l2"))
            }
        }
        END {
            head("dense, share of peak|256 keys|512|1,024|4,096|2 threads|d 64|d 80|d 96|d 256|GFLOP/s at 4,096|relative L2 error")
            m = split("256 512 1024 4096 2t d64 d80 d96 d256", at, " ")
            for (i = 1; i <= n; i++) {
                printf "| `LAC_ISA=%s` |", order[i]
                for (j = 1; j <= m; j++) printf " %s |", share[order[i], at[j]]
                printf " %s | %s |\n", rate[order[i]], error[order[i]]
            }
        }'
}

table_kernels_sparse() {
    table attn.csv '
        c("ctx") == 8192 {
            key = c("isa") "|" c("block")
            if (!(key in seen)) { seen[key] = 1; order[++n] = key }
            if (c("stats") == "on") extra[key] = sprintf("%.1f%%", 100 * c("stats_extra"))
            else if (c("density") < 1) {
                at = c("density") < 0.2 ? 1 : c("density") < 0.4 ? 3 : 5
                cost[key, at] = sprintf("%.2f", 1 / (c("vs_dense") * c("density")))
            }
        }
        END {
            head("8,192 keys|blocks|time over density x dense, density 0.1|0.3|0.5|pattern statistics cost")
            for (i = 1; i <= n; i++) {
                split(order[i], k, "|")
                printf "| `%s` | %s | %s | %s | %s | %s |\n", k[1], k[2], cost[order[i], 1],
                    cost[order[i], 3], cost[order[i], 5], extra[order[i]]
            }
        }'
}

table_kernels_decode() {
    table decode.csv '
        {
            level = c("isa")
            if (!(level in seen)) { seen[level] = 1; order[++n] = level }
            if (c("n_q") == 16) dense[level] = sprintf("%.1f", 1e3 * c("seconds_median"))
            if (c("n_q") == 5 && c("policy") == "dense") five[level] = sprintf("%.1f", 1e3 * c("seconds_median"))
            if (c("n_q") == 5 && c("policy") == "pages") {
                pages[level] = sprintf("%.2f", 1e3 * c("seconds_median"))
                ratio[level] = sprintf("%.1f", c("vs_dense"))
            }
            if (c("n_q") == 1 && c("policy") == "dense") {
                one[level] = sprintf("%.1f", 1e3 * c("seconds_median"))
                share[level] = percent(c("bandwidth_share"))
            }
        }
        END {
            head("32,768 keys, 32/8 heads, one thread|16 queries dense, ms|5 dense|5 over 10% of the pages, choosing included|ratio|1 query dense|of the bandwidth")
            for (i = 1; i <= n; i++)
                printf "| `%s` | %s | %s | %s | %sx | %s | %s |\n", order[i], dense[order[i]], five[order[i]],
                    pages[order[i]], ratio[order[i]], one[order[i]], share[order[i]]
        }'
}

table_kernels_step() {
    table step.csv '
        BEGIN { done = 0 }
        {
            if (!done++) head("one layer of LLaDA-8B, 4,096 positions, " c("threads") " threads|whole step, s|of its peak|attention, ms|of its peak|products, ms|of their peak|rest, ms")
            printf "| `%s` | %.2f | %s | %.0f | %s | %.0f | %s | %.0f |\n", c("isa"), c("seconds_median"),
                percent(c("peak_share")), c("ms_attention"), percent(c("attention_share")),
                c("ms_linear"), percent(c("linear_share")), c("ms_other")
        }'
}

table_kernels_gemm() {
    table gemm.csv '
        BEGIN { done = 0 }
        c("isa") ~ /amx|avx512_bf16/ {
            if (!done++) head("rows by 4,096 x 4,096, one thread|rows|GFLOP/s|of its peak|weights read, GB/s")
            printf "| `%s`, %s | %s | %.0f | %s | %s |\n", c("isa"), c("dtype"), c("m"), c("gflops"),
                percent(c("peak_share")), known(c("weight_gb_per_s"), "%.1f")
        }'
}

table_peers_attn() {
    table peers_attn.csv '
        BEGIN { done = 0 }
        c("peer") != "lacuna" {
            if (!done++) head("peer|variant|keys|type|threads|peer, GFLOP/s|ours|ours, ms|peer time / ours: median|least|most")
            printf "| %s %s | %s | %s | %s | %s | %.0f | `%s` | %.2f | %.2f | %.2f | %.2f |\n", c("peer"),
                c("version"), c("variant"), c("ctx"), c("dtype"), c("threads"), c("gflops"), c("ours_isa"),
                1e3 * c("ours_seconds_best"), c("ratio_median"), c("ratio_min"), c("ratio_max")
        }'
}

# ---------------------------------------------------------------- whole generations

table_generate() {
    table generate.csv '
        {
            key = c("ctx") "|`" c("isa") "`|" c("policy") "|" percent(c("density"))
            if (!(key in seen)) { seen[key] = 1; order[++n] = key }
            if (c("steps") == 1024) early[key] = c("dense_steps")
            sparse[key] = sprintf("%.2f", c("ms_sparse_step") / 1e3)
            dense[key] = sprintf("%.2f", c("ms_dense_step") / 1e3); pattern[key] = sprintf("%.2f", c("ms_pattern") / 1e3)
            ratio[key, c("steps")] = sprintf("%.2f", c("vs_dense"))
        }
        END {
            head("positions|`LAC_ISA`|policy|density|dense steps of 1,024|dense step, s|sparse step, s|pattern, s|whole generation against dense, 128 steps|1,024 steps")
            for (i = 1; i <= n; i++) {
                split(order[i], k, "|")
                printf "| %s | %s | %s | %s | %s | %s | %s | %s | %sx | %sx |\n", k[1], k[2], k[3], k[4], early[order[i]],
                    dense[order[i]], sparse[order[i]], pattern[order[i]], ratio[order[i], 128], ratio[order[i], 1024]
            }
        }'
}

# README: what the two systems gain.
table_gains() {
    printf '| | positions | times as fast as dense | measured by |\n|---|---|---|---|\n'
    for file in generate long; do
        table $file.csv '
            c("isa") == "amx" && c("policy") == "sparsed" && c("steps") == 1024 && c("ctx") ~ /^(16384|65536|262144)$/ {
                printf "| SparseD, LLaDA-8B shape, 1,024 steps | %dk | %.2f | `bench/'$file'.sh` |\n", c("ctx") / 1024, c("vs_dense")
            }'
    done
    table block.csv '
        c("isa") == "amx" && c("policy") == "losa" && c("selector") == "blocks" && c("batch") == 1 && c("threads") == 1 &&
            c("prefix") ~ /^(32768|131072)$/ {
            printf "| LoSA, SDAR-8B shape, one step | %dk | %.2f | `bench/block.sh` |\n", c("prefix") / 1024, c("vs_dense_step")
        }'
}

table_long() {
    table long.csv '
        BEGIN { done = 0 }
        {
            if (!done++) head("positions|density|dense layer, s|measuring|sparse|peak memory, GiB")
            printf "| %s | %s | %.1f | %.1f | %.1f | %s |\n", c("ctx"), percent(c("density")),
                c("ms_dense_step") / c("layers") / 1e3, (c("ms_dense_step") + c("ms_pattern")) / c("layers") / 1e3,
                c("ms_sparse_step") / c("layers") / 1e3, c("peak_gib")
        }'
}

# ---------------------------------------------------------------- quality

# Columns every table of an evaluation has; FILE, and a condition on its rows.
evaluation() {
    table "$1" '
        BEGIN { done = 0 }
        '"$2"' {
            if (!done++) head("task|length|attention|score|against dense (95%)|tokens as dense|KL, nats|needle kept|density")
            printf "| %s | %s | %s | %.1f | %s | %.1f%% | %.4f | %s | %.2f |\n", c("task"), c("ctx"), c("variant"),
                c("score"), c("policy") == "off" ? "" : sprintf("%+.1f [%+.1f, %+.1f]", c("score_diff"), c("diff_low"),
                c("diff_high")), 100 * c("agree"), c("kl"), known(c("needle_kept"), "%.2f"), c("density")
        }'
}
table_eval_nano_f() { evaluation eval_nano_f.csv 'NR > 1'; }
table_ablations() { evaluation ablations_nano_f.csv 'NR > 1'; }

# Behind a key cache.
table_cache_scores() { bench/eval_block_tables.sh scores; }
table_cache_means() { bench/eval_block_tables.sh means; }
table_cache_dense() { bench/eval_block_tables.sh dense; }
table_cache_ablations() { bench/eval_block_tables.sh ablations; }
table_cache_choosing() { bench/eval_block_tables.sh choosing; }
table_drift_bound() {
    table drift_bound.csv '
        {
            if (!done++)
                head("task|prefix|compared with|rows|true distance|output moved by|bound by channels|by pages|by all scores|true below 0.1|by pages|by all scores|rank of drift|by pages|by all scores")
            printf "| %s | %s | %s | %s | %.3f | %.2f | %.3f | %.3f | %.3f | %.0f%% | %.0f%% | %.0f%% | %.3f | %.3f | %.3f |\n",
                c("task"), c("ctx"), c("since") == "step" ? "the step before" : "the first step", c("rows"), c("tv_p50"),
                c("output_p50"), c("tanh_channel_p50"), c("tanh_page_p50"), c("tanh_exact_p50"), 100 * c("tv_below_0.1"),
                100 * c("tanh_page_below_0.1"), 100 * c("tanh_exact_below_0.1"), c("rank_drift"), c("rank_tanh_page"),
                c("rank_tanh_exact")
        }'
}

# ---------------------------------------------------------------- steps behind a key cache

table_block() {
    table block.csv '
        {
            policy = c("policy") == "losa" && c("selector") == "pages" ? "published" : c("policy")
            key = c("prefix") "|" c("batch") "|" c("threads") "|" c("isa")
            if (!(key in seen)) { seen[key] = 1; order[++n] = key }
            if (policy == "off" && !(key in dense)) dense[key] = sprintf("%.0f | %.0f", c("ms_attention"), c("ms_step"))
            if (policy != "off") ratio[key, policy] = sprintf("%.1f / %.2f", c("vs_dense_attention"), c("vs_dense_step"))
            if (policy == "losa") first[key] = sprintf("%.2f", c("ms_attention_first") / c("ms_attention_dense"))
        }
        END {
            head("prefix|batch|threads|`LAC_ISA`|dense: attention, ms|step, ms|losa: attention / step|its first step, dense 1|losa as published|quest|mage|sparsed|flashblock")
            m = split("losa published quest mage sparsed flashblock", policies, " ")
            for (i = 1; i <= n; i++) {
                split(order[i], k, "|")
                printf "| %s | %s | %s | `%s` | %s |", k[1], k[2], k[3], k[4], dense[order[i]]
                for (j = 1; j <= m; j++) {
                    printf " %s |", ratio[order[i], policies[j]]
                    if (j == 1) printf " %s |", first[order[i]]
                }
                print ""
            }
        }'
}

# ---------------------------------------------------------------- observations

observations='
    function mean(x, s, what, from, to,   key) {
        key = x SUBSEP s SUBSEP what SUBSEP from SUBSEP to
        return n[key] ? sprintf("%.3f", sum[key] / n[key]) : "-"
    }
    NR > 1 { key = $1 SUBSEP $3 SUBSEP $4 SUBSEP $5 SUBSEP $6; sum[key] += $7; n[key]++ }
    BEGIN { n_c = split("512 1024 2048", context, " "); n_s = split("0.1 0.3", select, " ") }
'

table_heads_differ() {
    table observations.csv "$observations"' END {
        head("context|kept|same layer: mean|least|most|other layers: mean|least|most")
        split("same_layer other_layer", where, " ")
        for (x = 1; x <= n_c; x++)
            for (s = 1; s <= n_s; s++) {
                printf "| %d | %d%% |", context[x], 100 * select[s]
                for (w = 1; w <= 2; w++)
                    printf " %s | %s | %s |", mean(context[x], select[s], "heads_" where[w] "_mean", "", ""),
                        mean(context[x], select[s], "heads_" where[w] "_min", "", ""),
                        mean(context[x], select[s], "heads_" where[w] "_max", "", "")
                print ""
            }
    }'
}

table_steps_alike() {
    table observations.csv "$observations"' END {
        head("context|kept|1 step apart|2|4|8|16|32")
        for (x = 1; x <= n_c; x++)
            for (s = 1; s <= n_s; s++) {
                printf "| %d | %d%% |", context[x], 100 * select[s]
                for (lag = 1; lag < 64; lag *= 2)
                    printf " %s |", mean(context[x], select[s], "steps_likeness_lag", 0, lag)
                print ""
            }
    }'
}

table_steps_retained() {
    table observations.csv "$observations"' END {
        head("context|kept|pattern of step|at step 16|32|48|63|own pattern of step 63")
        n_f = split("0 3 6 12", from, " "); n_t = split("16 32 48 63", to, " ")
        for (x = 1; x <= n_c; x++)
            for (s = 1; s <= n_s; s++)
                for (f = 1; f <= n_f; f++) {
                    printf "| %d | %d%% | %d |", context[x], 100 * select[s], from[f]
                    for (t = 1; t <= n_t; t++)
                        printf " %s |", mean(context[x], select[s], "steps_retained", from[f], to[t])
                    printf " %s |\n", mean(context[x], select[s], "own_mass", 63, 63)
                }
    }'
}

table_early_steps() {
    table observations_early.csv '
        {
            key = $3 SUBSEP $4
            same[key] += $7; all[key] += $6; first[key] += $8; n[key]++
            whole[key] += $7 == $6; dense[key] = $5
        }
        END {
            head("kept|skip|dense steps|tokens as dense|tokens before the first difference, of 64|texts equal")
            n_s = split("0.1 0.3", select, " "); n_k = split("0,0.05,0.1,0.2,0.25,0.5,switch auto,refresh auto", skip, ",")
            for (s = 1; s <= n_s; s++)
                for (k = 1; k <= n_k; k++) {
                    key = select[s] SUBSEP skip[k]
                    if (n[key])
                        printf "| %d%% | %s | %s | %.1f%% | %.1f | %d of %d |\n", 100 * select[s], skip[k],
                            dense[key], 100 * same[key] / all[key], first[key] / n[key], whole[key], n[key]
                }
        }'
}

# pivot FILE TITLE BEFORE ROW COLUMN VALUE: means of a column by two others; the columns' titles begin with BEFORE.
pivot() {
    table "$1" '
        function note(list, seen, x) { if (!(x in seen)) { seen[x] = 1; list[++list[0]] = x } }
        { note(row, is_row, c("'"$4"'")); note(col, is_col, c("'"$5"'"))
          sum[c("'"$4"'"), c("'"$5"'")] += c("'"$6"'"); n[c("'"$4"'"), c("'"$5"'")]++ }
        END {
            titles = "'"$2"'"
            for (j = 1; j <= col[0]; j++) titles = titles "|'"$3"' " col[j]
            head(titles)
            for (i = 1; i <= row[0]; i++) {
                printf "| %s |", row[i]
                for (j = 1; j <= col[0]; j++) printf " %.3f |", sum[row[i], col[j]] / n[row[i], col[j]]
                print ""
            }
        }'
}

table_domains() { pivot domains.csv "pattern of" on from to held_mean; }

# A head is positional where other prompts'"'"' patterns hold 95% of what its own do, on average over all pairs.
table_domain_heads() {
    table domains.csv '
        { sum[c("head")] += c("held_mean"); own[c("head")] += c("own_mean"); n[c("head")]++
          if (!(c("head") in least) || c("held_least") < least[c("head")]) least[c("head")] = c("held_least") }
        END {
            head("head (layer.head)|held of other prompts, mean|least|own pattern holds|kind")
            for (h = 0; n[h] > 0; h++) {
                held = sum[h] / n[h]; mine = own[h] / n[h]
                kind = held >= 0.95 ? "positional" : "content"
                if (mine < 0.9) kind = "diffuse, " kind
                printf "| %d.%d | %.3f | %.3f | %.3f | %s |\n", int(h / 4), h % 4, held, least[h], mine, kind
            }
        }'
}

table_domain_steps() { pivot domains_steps.csv "pattern of step 6" "at step" kind to held; }

# ---------------------------------------------------------------- documents

# Prints the document with its tables filled.
fill() {
    inside=''
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '<!-- table: '*' -->')
            name=${line#'<!-- table: '}
            name=${name%' -->'}
            printf '%s\n' "$line"
            "table_$name" || exit 1
            inside=1
            ;;
        '<!-- end -->')
            inside=''
            printf '%s\n' "$line"
            ;;
        *) [ -n "$inside" ] || printf '%s\n' "$line" ;;
        esac
    done <"$1"
}

check=''
[ "${1:-}" != --check ] || { check=1; shift; }
[ $# -gt 0 ] || set -- $(grep -l '^<!-- table: ' README.md docs/*.md models/*/README.md)
new=$(mktemp)
trap 'rm -f "$new"' EXIT
code=0
for document; do
    fill "$document" >"$new" || { echo "tables.sh: $document: a table could not be made" >&2; exit 1; }
    cmp -s "$new" "$document" && continue
    if [ -n "$check" ]; then
        echo "tables.sh: $document: its tables are not those of $results; run bench/tables.sh" >&2
        code=1
    else
        cat "$new" >"$document"
        echo "tables.sh: $document" >&2
    fi
done
exit $code
