#!/bin/sh
# pictures.sh: draws the two pictures of README.md into docs/pictures.
#   usage: bench/pictures.sh [PROGRAM]     (default build/release/lacuna)
# canvas.svg     a passage whose holes resolve step by step: nano-f, from the trace of a run
# step-time.svg  seconds of a denoising step by context, dense and sparse: from results/generate.csv and
#                results/long.csv
set -eu
cd "$(dirname "$0")/.."
program=${1:-build/release/lacuna}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# ---------------------------------------------------------------- the canvas

passage='There was a lit[MASK*3] girl who lived wi[MASK*2] her mother, and she had a li[MASK*4] dog.'
printf '%s' "$passage" >"$scratch/canvas"
"$program" run -m models/nano-f --canvas "$scratch/canvas" --dtype f32 -q --trace "$scratch/trace" >/dev/null
awk -v passage="$passage" '
    # Holes of the text become single marks, so that a character is a position.
    BEGIN {
        while (match(passage, /\[MASK\*[0-9]+\]/)) {
            n = substr(passage, RSTART + 6, RLENGTH - 7) + 0
            holes = sprintf("%" n "s", ""); gsub(/ /, "_", holes)
            passage = substr(passage, 1, RSTART - 1) holes substr(passage, RSTART + RLENGTH)
        }
        length_of = length(passage)
        for (i = 1; i <= length_of; i++) text[i] = substr(passage, i, 1)
        add_row("before")
    }
    /"type":"step"/ {
        fixed = $0; sub(/.*"fixed":\[/, "", fixed); sub(/\].*/, "", fixed)
        for (i = 1; i <= length_of; i++) is_new[i] = 0
        while (match(fixed, /"pos":[0-9]+,"id":[0-9]+/)) {
            split(substr(fixed, RSTART, RLENGTH), part, /[:,]/)
            text[part[2] + 1] = sprintf("%c", part[4] + 0)
            is_new[part[2] + 1] = was_hole[part[2] + 1] = 1
            fixed = substr(fixed, RSTART + RLENGTH)
        }
        step = $0; sub(/.*"step":/, "", step); sub(/,.*/, "", step)
        add_row("step " step + 1)
    }
    function add_row(label,   i, y, c, class) {
        y = 26 + 22 * n_rows++
        rows = rows sprintf("<text x=\"12\" y=\"%d\" class=\"label\">%s</text>\n", y, label)
        for (i = 1; i <= length_of; i++) {
            c = text[i]
            if (c == " ") continue
            class = c == "_" ? "hole" : is_new[i] ? "new" : was_hole[i] ? "filled" : ""
            if (class == "new")
                rows = rows sprintf("<rect x=\"%.1f\" y=\"%d\" width=\"9\" height=\"18\"/>", 80 + 8.6 * (i - 1), y - 14)
            rows = rows sprintf("<text x=\"%.1f\" y=\"%d\"%s>%s</text>", 80.3 + 8.6 * (i - 1), y,
                class == "" ? "" : " class=\"" class "\"", c)
        }
        rows = rows "\n"
    }
    END {
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" role=\"img\">\n", 92 + 8.6 * length_of, 16 + 22 * n_rows
        print "<title>A passage with nine holes, filled in nine denoising steps</title>"
        print "<style>text{font:14px monospace;fill:#222}.label{fill:#777;font-size:12px}.hole{fill:#b9b9b9}"
        print ".filled{fill:#0a6}.new{fill:#fff;font-weight:bold}rect{fill:#0a6;rx:2}</style>"
        print "<path fill=\"#fff\" d=\"M0 0h2000v2000H0z\"/>"
        printf "%s</svg>\n", rows
    }
' "$scratch/trace" >docs/pictures/canvas.svg
grep -q 'step 9' docs/pictures/canvas.svg || { echo "pictures: the run has no nine steps" >&2; exit 1; }

# ---------------------------------------------------------------- time of a step

for file in generate long; do
    awk -F, -v file=$file '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["isa"] == "amx" && $at["steps"] == 1024 && $at["policy"] == "sparsed" {
            print $at["ctx"], $at["ms_dense_step"] / 1000, $at["ms_sparse_step"] / 1000
        }' "bench/results/$file.csv"
done | sort -n >"$scratch/times"
awk '
    { ctx[NR] = $1; dense[NR] = $2; sparse[NR] = $3 }
    function log2(x) { return log(x) / log(2) }
    function x_of(c) { return 86 + 88 * (log2(c) - 12) }
    function y_of(s) { return 318 - 90 * (log(s) / log(10) - 1.4) }
    function line(y, color, name,   i, path) {
        for (i = 1; i <= NR; i++) path = path sprintf("%s%.1f %.1f", i > 1 ? "L" : "M", x_of(ctx[i]), y_of(y[i]))
        printf "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"2.5\"/>\n", path, color
        for (i = 1; i <= NR; i++)
            printf "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n", x_of(ctx[i]), y_of(y[i]), color
        printf "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s</text>\n", x_of(ctx[NR]) + 10, y_of(y[NR]) + 5, color, name
    }
    END {
        print "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 380\" role=\"img\">"
        print "<title>Seconds of a denoising step by context, dense and under SparseD</title>"
        print "<style>text{font:13px sans-serif}.axis{fill:#555}</style><path fill=\"#fff\" d=\"M0 0h720v380H0z\"/>"
        n_marks = split("30 100 300 1000 3000 10000 30000", mark, " ")
        for (i = 1; i <= n_marks; i++) {
            printf "<path d=\"M86 %.1fH616\" stroke=\"#ddd\"/>", y_of(mark[i])
            printf "<text class=\"axis\" x=\"78\" y=\"%.1f\" text-anchor=\"end\">%d</text>\n", y_of(mark[i]) + 4, mark[i]
        }
        for (i = 1; i <= NR; i++)
            printf "<text class=\"axis\" x=\"%.1f\" y=\"346\" text-anchor=\"middle\">%dk</text>\n", x_of(ctx[i]), ctx[i] / 1024
        print "<text class=\"axis\" x=\"351\" y=\"370\" text-anchor=\"middle\">positions</text>"
        print "<text class=\"axis\" x=\"14\" y=\"20\">seconds a step</text>"
        line(dense, "#777777", "dense")
        line(sparse, "#0066aa", "SparseD")
        print "</svg>"
    }
' "$scratch/times" >docs/pictures/step-time.svg
echo "docs/pictures/canvas.svg, docs/pictures/step-time.svg"
