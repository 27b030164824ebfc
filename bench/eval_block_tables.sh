#!/bin/sh
# eval_block_tables.sh: a table of docs/policies-blockwise.md, as markdown, from what bench/eval_block.sh
# wrote. bench/tables.sh puts them there.
#   usage: bench/eval_block_tables.sh scores | means | dense | ablations | choosing
set -eu
cd "$(dirname "$0")/../bench/results"
part=${1:?scores, means, dense, ablations or choosing}
wanted() { [ "$part" = "$1" ]; }

# Columns are found by name: $at["score"] is the score of a row.
# shellcheck disable=SC2016 # the dollars are awk's
columns='NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }'

if wanted scores || wanted means; then
    awk -F, -v part="$part" "$columns"'
        {
            cell = $at["task"] SUBSEP $at["ctx"]
            if (!(cell in seen)) { seen[cell] = 1; cells[++n_cells] = cell }
            if ($at["budget"] == "") budget = "any"
            else budget = $at["budget"]
            key = cell SUBSEP $at["policy"] SUBSEP budget
            score[key] = $at["score"]; kl[key] = $at["kl"]; agree[key] = $at["agree"]
            density[key] = $at["density"]
            has_inflation = "union_inflation" in at
            if (has_inflation) inflation[key] = $at["union_inflation"]
        }
        function cell_of(values, key, form) { return key in values ? sprintf(form, values[key]) : "" }
        END {
            n_p = split("quest sparsed mage losa", policy, " ")
            n_b = split("64 128 256 512 1024", budgets, " ")
            if (part == "scores") {
                print "| task | length | dense | flashblock | policy | 64 | 128 | 256 | 512 | 1,024 |"
                print "|---|---|---|---|---|---|---|---|---|---|"
            }
            for (c = 1; part == "scores" && c <= n_cells; c++) {
                split(cells[c], name, SUBSEP)
                if (!((cells[c], "flashblock", "any") in score)) continue
                for (p = 1; p <= n_p; p++) {
                    if (p == 1)
                        printf "| %s | %s | %s | %s ", name[1], name[2],
                            cell_of(score, cells[c] SUBSEP "off" SUBSEP "any", "%.0f"),
                            cell_of(score, cells[c] SUBSEP "flashblock" SUBSEP "any", "%.0f")
                    else printf "| | | | "
                    printf "| %s |", policy[p]
                    for (b = 1; b <= n_b; b++)
                        printf " %s |", cell_of(score, cells[c] SUBSEP policy[p] SUBSEP budgets[b], "%.0f")
                    print ""
                }
            }
            if (part != "means") exit
            print "| policy | budget | score | tokens as dense | KL | density |" \
                (has_inflation ? " union inflation |" : "")
            print "|---|---|---|---|---|---|" (has_inflation ? "---|" : "")
            policy[++n_p] = "flashblock"; policy[++n_p] = "off"; budgets[++n_b] = "any"
            for (p = 1; p <= n_p; p++)
                for (b = 1; b <= n_b; b++) {
                    n = s = a = k = d = u = 0
                    for (c = 1; c <= n_cells; c++) {
                        split(cells[c], name, SUBSEP)
                        if (name[2] > 4096) continue # too few budgets were run there
                        key = cells[c] SUBSEP policy[p] SUBSEP budgets[b]
                        if (!(key in score) || !((cells[c], "flashblock", "any") in score)) continue
                        n++; s += score[key]; a += agree[key]; k += kl[key]; d += density[key]
                        if (has_inflation) u += inflation[key]
                    }
                    if (!n) continue
                    printf "| %s | %s | %.1f | %.3f | %.4f | %.3f |", policy[p] == "off" ? "dense" : policy[p],
                        budgets[b] == "any" ? "" : budgets[b], s / n, a / n, k / n, d / n
                    if (has_inflation) printf " %.2f |", u / n
                    print ""
                }
        }' eval_nano_b.csv
fi

if wanted dense; then
    awk -F, "$columns"'
        $at["policy"] == "off" { score[$at["task"], $at["ctx"]] = $at["exact"] }
        END {
            n = split("128 256 512 1024 2048 4096", ctx, " ")
            printf "| |"
            for (i = 1; i <= n; i++) printf " %s |", ctx[i]
            printf "\n|---|"
            for (i = 1; i <= n; i++) printf "---|"
            split("kv niah", task, " ")
            for (t = 1; t <= 2; t++) {
                printf "\n| %s |", task[t]
                for (i = 1; i <= n; i++) printf " %.0f |", score[task[t], ctx[i]]
            }
            print ""
        }' eval_nano_b.csv
fi

if wanted ablations; then
    awk -F, "$columns"'
        {
            key = $at["budget"] SUBSEP $at["what"] SUBSEP $at["flags"]
            if (!(key in seen)) { seen[key] = 1; keys[++n] = key }
            score[key, $at["task"]] = $at["score"]; kl[key, $at["task"]] = $at["kl"]
            agree[key] += $at["agree"] / 2; density[key] += $at["density"] / 2
        }
        END {
            print "| budget | what | flags | kv | niah | tokens as dense | KL kv | KL niah | density |"
            print "|---|---|---|---|---|---|---|---|---|"
            for (i = 1; i <= n; i++) {
                split(keys[i], name, SUBSEP)
                gsub("_", " ", name[2])
                printf "| %s | %s | %s | %.0f | %.0f | %.3f | %.4f | %.4f | %.3f |\n", name[1], name[2],
                    name[3] == "" ? "" : "`" name[3] "`", score[keys[i], "kv"], score[keys[i], "niah"],
                    agree[keys[i]], kl[keys[i], "kv"], kl[keys[i], "niah"], density[keys[i]]
            }
        }' eval_nano_b_ablations.csv
fi

if wanted choosing; then
    awk -F, "$columns"'
        {
            key = $at["policy"] SUBSEP $at["budget"] SUBSEP $at["flags"]
            if (!(key in seen)) { seen[key] = 1; keys[++n] = key }
            score[key, $at["task"]] = $at["score"]; kl[key, $at["task"]] = $at["kl"]
            agree[key] += $at["agree"] / 2; density[key] += $at["density"] / 2
            union[key] += $at["union_inflation"] / 2; bytes[key] += $at["bytes_read"] / 2
        }
        function print_policy(wanted,   i, name) {
            for (i = 1; i <= n; i++) {
                split(keys[i], name, SUBSEP)
                if (name[1] != wanted) continue
                sub(/ $/, "", name[3])
                printf "| %s | %s | %s | %.0f | %.0f | %.3f | %.4f | %.4f | %.3f | %.2f | %.0f |\n", name[1], name[2],
                    name[3] == "" ? "" : "`" name[3] "`", score[keys[i], "kv"], score[keys[i], "niah"],
                    agree[keys[i]], kl[keys[i], "kv"], kl[keys[i], "niah"], density[keys[i]], union[keys[i]],
                    bytes[keys[i]] / 1e3
            }
        }
        END {
            print "| policy | budget | flags | kv | niah | tokens as dense | KL kv | KL niah | density | union | kB a step |"
            print "|---|---|---|---|---|---|---|---|---|---|---|"
            print_policy("quest")
            print_policy("losa")
        }' eval_nano_b_choosing.csv
fi
