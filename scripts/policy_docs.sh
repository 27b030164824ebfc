#!/bin/sh
# policy_docs.sh [--check] [PROGRAM]: writes the knobs of the attention policies into the documents, as
# `lacuna inspect --policies` lists them: into docs/*.md between "<!-- knobs: NAME -->" and "<!-- end -->"
# (NAME followed by "behind" is the policy of that name behind a key cache), and into docs/lacuna.1 between
# the lines that say so. With --check nothing is written: exit 1 and a line for each document that differs.
set -eu
cd "$(dirname "$0")/.."
check=no
[ "${1:-}" != --check ] || { check=yes; shift; }
program=${1:-build/release/lacuna}
list=$(mktemp) made=$(mktemp)
trap 'rm -f "$list" "$made"' EXIT
"$program" inspect --policies >"$list"

# Copies a document; what stands between its marks comes from the list.
fill_markdown='
    FNR == NR {
        if (/^## /) {
            name = $2; sub(",", "", name)
            behind = /behind a key cache/ ? " behind" : ""
        } else if (/^\|/) {
            table[name behind] = table[name behind] $0 "\n"
        }
        next
    }
    /^<!-- knobs: / {
        print
        name = $0; sub("<!-- knobs: ", "", name); sub(" -->", "", name)
        key = table[name] != "" ? name : name " behind"
        if (table[key] == "") { print "no policy " name >"/dev/stderr"; exit 1 }
        printf "%s", table[key]
        skipping = 1
    }
    /^<!-- end -->/ { skipping = 0 }
    !skipping && !/^<!-- knobs: / { print }
'
fill_man='
    FNR == NR {
        gsub(/`/, ""); gsub(/-/, "\\-")
        if (/^## /) {
            text = text ".SS " substr($0, 4) "\n"
        } else if (/^\| knob/ || /^\| \\-/ || /^A policy/ || /^$/) {
            next
        } else if (/^\|/) {
            n = split($0, cell, / *\| */)
            text = text ".TP\n.B " cell[2] "\n" toupper(substr(cell[5], 1, 1)) substr(cell[5], 2) \
                ". Range: " cell[4] ". Default: " cell[3] ".\n"
        } else {
            text = text $0 "\n"
        }
        next
    }
    /^\.\\" knobs begin/ { print; printf "%s", text; skipping = 1; next }
    /^\.\\" knobs end/ { skipping = 0 }
    !skipping { print }
'

status=0
for document in docs/policies.md docs/policies-blockwise.md docs/lacuna.1; do
    case $document in
    *.md) awk "$fill_markdown" "$list" "$document" >"$made" ;;
    *) awk "$fill_man" "$list" "$document" >"$made" ;;
    esac
    cmp -s "$made" "$document" && continue
    if [ "$check" = yes ]; then
        echo "$document: its knobs are not those of the program; run scripts/policy_docs.sh"
        status=1
    else
        cat "$made" >"$document"
        echo "$document: filled"
    fi
done
exit "$status"
