#!/bin/sh
# check_symbols.sh LIBRARY: every symbol that the shared library exports begins with lac_.
set -eu

[ $# -eq 1 ] || { echo "usage: scripts/check_symbols.sh LIBRARY" >&2; exit 2; }
symbols=$(nm -D --defined-only "$1" | awk '{ print $3 }' | sed 's/@.*//' |
    grep -vxE '_init|_fini|_edata|_end|__bss_start' | sort -u)
strange=$(printf '%s\n' "$symbols" | grep -v '^lac_' || true)
if [ -n "$strange" ]; then
    printf '%s\n' "$strange" | sed 's/^/symbols: exported without the prefix lac_: /'
    exit 1
fi
headers=$(dirname "$0")/../include
# what the headers declare is there, and nothing else is
declared=$(cat "$headers"/*.h | grep -v '^#' | tr '\n' ' ' | grep -o 'LAC_API [^;(]*(' | sed 's/.*[ *]\(lac_[a-z0-9_]*\)($/\1/' | sort -u)
if [ "$declared" != "$symbols" ]; then
    for name in $declared $symbols; do
        case "
$declared
" in *"
$name
"*) ;; *) echo "symbols: $name is exported but declared in no public header" ;; esac
        case "
$symbols
" in *"
$name
"*) ;; *) echo "symbols: $name is declared in a public header but not exported" ;; esac
    done
    exit 1
fi
echo "symbols: $(printf '%s\n' "$symbols" | wc -l) exported, all declared in public headers"
