#!/bin/sh
# check_layers.sh: who may include and who may call whom (docs: the table in CONTRIBUTING.md). Reads
# the sources alone and prints file:line, or the files of a circle, and the broken rule.
# 1. Every #include "..." is allowed by the table; threads and OpenMP stay where they belong.
# 2. No headers include each other in a circle.
# 3. No files call each other in a circle: what a.c uses of b.c, b.c may not need a.c for.
# 4. The program names nothing of src but the public interface and src/base, and no folder of tools
#    names what is in a folder above it, with a header or without.
set -eu
cd "$(dirname "$0")/.."

# shellcheck disable=SC2016 # the dollars are awk's
find include src tools examples -name '*.[ch]' | sort | xargs awk '
# Own headers that files in the folder may include, as a pattern, and the rule in words. The folders
# of tools are in order: each may use those before it.
BEGIN {
    public = "lacuna(_attention)?[.]h"
    interface = "backend/backend(_memory|_rows|_attend|_select)?[.]h"
    own["include"] = public;                            say["include"] = "nothing of ours"
    own["base"] = public "|base/.*";                    say["base"] = "lacuna.h and base only"
    own["kernels"] = "base/dtype[.]h|base/rng[.]h|kernels/.*"
    say["kernels"] = "base/dtype.h, base/rng.h and kernels only"
    own["backend"] = public "|base/.*|kernels/.*|backend/.*"
    say["backend"] = "lacuna.h, base, kernels and backend only"
    own["attention"] = public "|base/.*|" interface "|attention/.*"
    say["attention"] = "lacuna.h, base, backend.h or a part of it, and attention only"
    own["model"] = public "|base/.*|" interface "|model/.*"
    say["model"] = "lacuna.h, base, backend.h or a part of it, and model only"
    own["engine"] = public "|base/.*|" interface "|attention/.*|model/.*|engine/.*"
    say["engine"] = "lacuna.h, base, backend.h or a part of it, attention, model and engine only"
    own["api"] = own["engine"] "|api/.*";               say["api"] = "what engine may, and api"
    own["tools/shell"] = public "|base/.*|shell/.*";    say["tools/shell"] = "lacuna.h, base and shell only"
    own["tools/picture"] = own["tools/shell"] "|picture/.*|masks_page_html[.]h"
    say["tools/picture"] = "what shell may, and picture"
    own["tools/run"] = own["tools/picture"] "|run/.*";  say["tools/run"] = "what picture may, and run"
    own["tools/eval"] = own["tools/run"] "|eval/.*|eval_book[.]h"
    say["tools/eval"] = "what run may, and eval"
    own["tools"] = own["tools/eval"] "|[^/]*[.]h";      say["tools"] = "lacuna.h, base and tools only"
    own["tools/bench"] = ".*";                          say["tools/bench"] = "everything"
    own["examples"] = public;                           say["examples"] = "lacuna.h only"
}
FNR == 1 {
    n = split(FILENAME, part, "/")
    layer = part[1] == "src" ? part[2] : part[1]
    if (layer == "tools" && n > 2) layer = "tools/" part[2]
    name = FILENAME; sub(/^[^\/]*\//, "", name)
    path_of[name] = FILENAME
    layer_of[FILENAME] = layer
    n_files++
    head = ""; in_comment = 0
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
    includes[FILENAME] = includes[FILENAME] " " name
    if (!(layer in own)) fail("no rule for folder " layer)
    else if (name !~ "^(" own[layer] ")$")
        fail("includes \"" name "\"; " layer " may include " say[layer])
}
/^[ \t]*#[ \t]*pragma[ \t]+omp|^[ \t]*#[ \t]*include[ \t]*<omp[.]h>/ {
    if (FILENAME != "src/backend/cpu/cpu_linear_onednn.c")
        fail("OpenMP is known to cpu_linear_onednn.c only; work is divided by cpu_team.h")
}
/(pthread|thrd)_create *[(]/ {
    if (FILENAME != "src/base/thread.c" && layer != "tools/bench")
        fail("threads are made by base/thread.c only")
}
/^[ \t]*#[ \t]*include[ \t]*<lacuna[.]h>/ {
    if (layer != "examples") fail("own headers are included with quotes")
}
function fail(rule) { printf "%s:%d: %s\n", FILENAME, FNR, rule; n_broken++ }

# ---- names that .c files define and use; the layout is that of clang-format
{
    if (FILENAME !~ /^(src|tools).*[.]c$/) next
    line = code_of($0)
    if (line ~ /^[a-z]/ && line !~ /^(static|typedef|extern)/) head = line
    else if (head != "") head = head " " line
    if (line ~ /^[}#]/ || (head ~ /;/ && head !~ / = /)) head = "" # a declaration
    if (head != "" && (line ~ /^[{]/ || head ~ / = /)) {
        name = head; sub(/[[(=].*/, "", name); sub(/[ \t]*$/, "", name); sub(/^.*[ *]/, "", name)
        if (name != "main") defined[name] = FILENAME
        head = ""
    }
    while (match(line, /[A-Za-z_][A-Za-z_0-9]*/)) {
        uses[FILENAME, substr(line, RSTART, RLENGTH)] = FNR
        line = substr(line, RSTART + RLENGTH)
    }
}
# The line without strings and comments.
function code_of(text,    end) {
    gsub(/\\./, "", text)
    gsub(/"[^"]*"/, "", text)
    if (in_comment) {
        end = index(text, "*/")
        if (!end) return ""
        text = substr(text, end + 2); in_comment = 0
    }
    while ((end = index(text, "/*")) > 0) {
        if (!index(substr(text, end), "*/")) { in_comment = 1; return substr(text, 1, end - 1) }
        text = substr(text, 1, end - 1) substr(text, end + index(substr(text, end), "*/") + 1)
    }
    return text
}

# Takes away files that lead nowhere or that nothing leads to, until only circles are left, which are
# printed; to[a, b] = 1 where a leads to b.
function report_circles(to, what, why,    edge, end, leads, is_led, n_left, changed) {
    do {
        changed = 0
        split("", leads); split("", is_led)
        for (edge in to) { split(edge, end, SUBSEP); leads[end[1]] = 1; is_led[end[2]] = 1 }
        for (edge in to) {
            split(edge, end, SUBSEP)
            if (!(end[2] in leads) || !(end[1] in is_led)) { delete to[edge]; changed = 1 }
        }
    } while (changed)
    for (edge in to) {
        split(edge, end, SUBSEP)
        printf "%s: %s %s%s: a circle\n", end[1], what, end[2], why[edge]
        n_broken++
    }
}
function check_headers(    file, i, n, list, to, none) {
    for (file in includes) {
        n = split(includes[file], list, " ")
        for (i = 1; i <= n && file ~ /[.]h$/; i++)
            if (list[i] in path_of) to[file, path_of[list[i]]] = 1
    }
    report_circles(to, "includes", none)
}
function check_calls(    use, end, from, there, to, why, pair, ends) {
    for (use in uses) {
        split(use, end, SUBSEP)
        from = end[1]
        if (!(end[2] in defined) || (there = defined[end[2]]) == from) continue
        if (from ~ /^src/ && end[2] !~ /^laci?_/) continue # a name of its own
        to[from, there] = 1
        why[from, there] = " (" end[2] ")"
        if (from ~ /^tools/) check_name(from, uses[use], end[2], there)
    }
    for (pair in known) {
        split(pair, ends, " ")
        if (!(ends[1] in layer_of) || !(ends[2] in layer_of)) continue
        if (!((ends[1], ends[2]) in to && (ends[2], ends[1]) in to)) {
            printf "check_layers.sh: %s: this circle is open now, forget it\n", pair
            n_broken++
        }
        delete to[ends[1], ends[2]]; delete to[ends[2], ends[1]]
    }
    report_circles(to, "uses", why)
}
# `name`, of file `there`, is used by a file of tools.
function check_name(from, line, name, there,    header, ours) {
    ours = layer_of[from]
    if (ours == "tools/bench" || name ~ /^lac_/ || (ours == "tools" && name ~ /^cmd_/)) return
    header = there; sub(/^[^\/]*\//, "", header); sub(/c$/, "h", header)
    if (header ~ "^(" own[ours] ")$") return
    printf "%s:%d: names %s of %s; %s may use %s\n", from, line, name, there, ours, say[ours]
    n_broken++
}
END {
    check_headers()
    check_calls()
    if (n_broken) { printf "layers: %d rules broken\n", n_broken; exit 1 }
    printf "layers: %d files keep the rules\n", n_files
}' || exit 1
