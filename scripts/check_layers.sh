#!/bin/sh
# check_layers.sh: who may include whom (docs: the table in CONTRIBUTING.md). Looks at #include "..."
# of every source file, at threads and OpenMP out of place, and prints file:line and the broken rule.
set -eu
cd "$(dirname "$0")/.."

# shellcheck disable=SC2016 # the dollars are awk's
find src tools examples -name '*.[ch]' | sort | xargs awk '
# Own headers that files in the folder may include, as a pattern, and the rule in words.
BEGIN {
    public = "lacuna[.]h"
    interface = "backend/backend(_memory|_rows|_attend|_select)?[.]h"
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
    own["api"] = own["engine"] "|api/.*"
    say["api"] = "what engine may, and api"
    own["tools"] = public "|base/.*|shell/.*|run/.*|eval/.*|picture/.*|[^/]*[.]h"
    say["tools"] = "lacuna.h, base and tools only"
    own["tools/bench"] = ".*";                          say["tools/bench"] = "everything"
    own["examples"] = "lacuna[.]h";                     say["examples"] = "lacuna.h only"
}
FNR == 1 {
    n = split(FILENAME, part, "/")
    layer = part[1] == "src" ? part[2] : part[1]
    if (layer == "tools" && part[2] == "bench") layer = "tools/bench"
    n_files++
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    name = $0; sub(/^[^"]*"/, "", name); sub(/".*/, "", name)
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
END {
    if (n_broken) { printf "layers: %d rules broken\n", n_broken; exit 1 }
    printf "layers: %d files keep the rules\n", n_files
}'
