#!/bin/sh
# gpu_check.sh: everything that needs an NVIDIA GPU, in one command of less than eight minutes: builds,
# compares the CUDA backend with the CPU, its two attention kernels with each other, forward passes as
# graphs with plain launches, and tokens; times attention, decoding, a step and generations, and
# PyTorch's attention in the same run; runs compute-sanitizer. Results are written as they come, and
# what no time is left for is named. Without a GPU it says so in one line and exits 0.
set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/gpu_check.sh [--quick] [--from BUNDLE]
       scripts/gpu_check.sh --bundle BUNDLE

  --quick          fewer tests under the sanitizer, fewer sizes; about three minutes
  --from BUNDLE    run the programs of a bundle instead of building here
  --bundle BUNDLE  no GPU needed: build here, and gather programs and shared libraries for a machine
                   with a GPU that lacks the libraries to build with; a folder, some 50 MB, or with
                   a name that ends in .tar.gz a file of a third of that
  --help           print this

Results: at most eight files in the folder OUT names (bench/results/gpu); log.txt ends with the
table. Exit status: 0 when all that ran is well or there is no GPU, 1 when something failed, 2 for a
wrong option.
TEXT
}

quick=no from='' bundle=''
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --from | --bundle)
        [ $# -ge 2 ] || { echo "gpu_check: $1 needs a bundle" >&2; exit 2; }
        if [ "$1" = --from ]; then from=$2; else bundle=$2; fi
        shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "gpu_check: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

tests='test_cuda_rows test_attend test_attend_batch test_attend_parts test_attend_stats test_cpu_select
    test_cuda_large test_cuda_paged test_cuda_generate test_cuda_graph test_cuda_jobs'
limit=450 # seconds of all of it
started=$(date +%s)
seconds() { echo $(($(date +%s) - started)); }

# Runs a command for at most so many seconds, and within the limit of all: 124 = stopped, 125 = there
# was no time to begin.
within() { # SECONDS COMMAND...
    most=$1
    shift
    left=$((limit - $(seconds)))
    [ "$left" -ge 5 ] || return 125
    [ "$left" -ge "$most" ] || most=$left
    timeout "$most" "$@"
}

# ---------------------------------------------------------------- building

build() { # FOLDER OPTION...
    folder=$1
    shift
    cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DLAC_TESTS=ON -DLAC_CUDA=ON "$@" || return 1
    # shellcheck disable=SC2086 # a list of targets
    cmake --build "$folder" -j "$(nproc)" --target lacuna $tests
}

# Programs, and the shared libraries they need beside those of the C library.
gather() { # FOLDER
    build build/bundle -DLAC_ONEDNN=OFF -DLAC_EXAMPLES=OFF
    mkdir -p "$1/lib"
    cp build/bundle/lacuna "$1/"
    for name in $tests; do cp "build/bundle/tests/$name" "$1/"; done
    strip "$1"/lacuna "$1"/test_*
    for program in "$1"/lacuna "$1"/test_*; do ldd "$program"; done |
        sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
        grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | xargs cp -Lt "$1/lib"
}

if [ -n "$bundle" ]; then
    case $bundle in
    *.tar.gz)
        loose=$(mktemp -d)
        gather "$loose"
        tar -C "$loose" -czf "$bundle" .
        rm -rf "$loose" ;;
    *) gather "$bundle" ;;
    esac
    echo "gpu_check: $(du -sh "$bundle" | cut -f 1) in $bundle; there: scripts/gpu_check.sh --from $bundle"
    exit 0
fi
if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "gpu_check: no NVIDIA GPU here, nothing was run"
    exit 0
fi

libraries=${LD_LIBRARY_PATH:-}
out=${OUT:-bench/results/gpu}
mkdir -p "$out"
log=$out/log.txt
: >"$log"
n_failed=0
say() { printf '%4s s  %s\n' "$(seconds)" "$*" | tee -a "$log"; }
failed() {
    n_failed=$((n_failed + 1))
    say "FAILED: $*"
}

say "$(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | head -n 1)"
case $from in
*.tar.gz)
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    tar -C "$unpacked" -xzf "$from"
    from=$unpacked ;;
esac
if [ -n "$from" ]; then
    lacuna=$from/lacuna programs=$from
    export LD_LIBRARY_PATH="$from/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
else
    build build/gpu >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log"; say "the build failed"; exit 1; }
    rm -f "$out/build.log"
    lacuna=build/gpu/lacuna programs=build/gpu/tests
fi

# The matrix library: the toolkit's, or the one PyTorch brings.
python=${PYTHON:-python3} file=''
for folder in /usr/local/cuda*/lib64 /usr/local/cuda*/targets/*/lib \
    $("$python" -c 'import site; print(*site.getsitepackages())' 2>/dev/null | tr ' ' '\n' |
        sed 's|$|/nvidia|') /usr/local/lib/python3*/*-packages/nvidia; do
    file=$(find "$folder" -name 'libcublasLt.so.1*' 2>/dev/null | head -n 1)
    [ -z "$file" ] || break
done
if [ -n "$file" ]; then
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(dirname "$file")
    export LD_LIBRARY_PATH
fi
say "matrix products by ${file:-the plain kernel: no libcublasLt was found}"
export LACUNA_TEST_ROOT="$PWD"

# ---------------------------------------------------------------- right?

run_test() { # NAME KERNEL [GRAPHS]
    backend=cuda code=0 graphs=${3:-0}
    [ "$1" != test_cuda_jobs ] || backend=cpu
    with=$2
    [ "$graphs" = 0 ] || with="$2, graphs"
    within 60 env LAC_TEST_BACKEND="$backend" LAC_CUDA_ATTEND="$2" LAC_CUDA_GRAPH="$graphs" "$programs/$1" \
        >"$out/tests.tmp" 2>&1 || code=$?
    { echo "== $1 $with"; cat "$out/tests.tmp"; } >>"$out/tests.txt"
    case $code in
    0) say "test $1 ($with): passed" ;;
    125) say "test $1 ($with): not run, no time left" ;;
    *) failed "test $1 ($with), exit $code"
        grep -E 'FAILED|ERROR|error|skipped' "$out/tests.tmp" | head -n 8 | tee -a "$log" ;;
    esac
}
: >"$out/tests.txt"
for name in $tests; do run_test "$name" mma; done
run_test test_cuda_generate mma 1
# The other attention kernel, where the card has its instructions.
kernels=mma
case $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1) in
9.*) kernels='mma wgmma'
    for name in test_cuda_large test_cuda_paged test_attend test_attend_batch test_attend_stats; do
        run_test "$name" wgmma
    done ;;
*) say "wgmma: not run, this card has no compute capability 9" ;;
esac
rm -f "$out/tests.tmp"

# Token for token in f32: greedy, noise, guidance, policies, blocks behind a key cache.
compare_tokens() { # MODEL ARGUMENTS of lacuna run
    model=$1
    shift
    set -- -m "models/$model" --dtype f32 -q "$@"
    cpu=$(within 60 "$lacuna" run "$@" --backend cpu) || cpu='cpu failed'
    gpu=$(within 60 "$lacuna" run "$@" --backend cuda 2>&1) || gpu="failed: $gpu"
    printf '== tokens %s\ncpu  %s\ncuda %s\n' "$*" "$cpu" "$gpu" >>"$out/tests.txt"
    if [ "$cpu" = "$gpu" ]; then say "tokens $*: equal"; else failed "tokens $*"; fi
}
text='One of the special magic numbers for garden is: 4417. What is the number for garden? '
compare_tokens nano-f -p "$text" -n 16 --sparse off
compare_tokens nano-f -p "$text" -n 16 --sparse off --temp 0.8 --seed 3
compare_tokens nano-f -p "$text" -n 12 --sparse off --cfg-scale 1
compare_tokens nano-f -p "$text" -n 12 --sparse off --top-k 5 --temp 0.7
compare_tokens nano-f -p "$text" -n 16 --sparse sparsed --sparse-block 16
for policy in off quest losa mage flashblock sparsed; do
    compare_tokens nano-b -p "$text" -n 32 --sparse "$policy"
done

# ---------------------------------------------------------------- fast?

bench() { # FILE ARGUMENTS of lacuna bench; $kernel = the attention kernel, $graphs = 1 for graphs
    file=$out/$1 code=0
    shift
    with=$kernel
    [ "$graphs" = 0 ] || with="$kernel, graphs"
    within 100 env LAC_CUDA_ATTEND="$kernel" LAC_CUDA_GRAPH="$graphs" "$lacuna" bench "$@" --backend cuda \
        -t 1 --json >"$out/rows.tmp" 2>>"$log" || code=$?
    sed "s/^{/{\"kernel\": \"$kernel\", \"graphs\": $graphs, /" "$out/rows.tmp" >>"$file"
    n_rows=$(wc -l <"$out/rows.tmp")
    rm -f "$out/rows.tmp"
    case $code in
    0) say "bench $* ($with): $n_rows rows" ;;
    124) say "bench $* ($with): stopped after $n_rows rows, no time left" ;;
    125) say "bench $* ($with): not run, no time left" ;;
    *) failed "bench $* ($with), exit $code" ;;
    esac
}
peers() { # ARGUMENTS of torch_attn_cuda.py
    within 90 env LD_LIBRARY_PATH="$libraries" "$python" bench/peers/torch_attn_cuda.py "$@" \
        >>"$out/peers.jsonl" 2>>"$log" ||
        say "peers $*: stopped (exit $?)"
}
for name in attn decode step generate peers; do : >"$out/$name.jsonl"; done
contexts=8192,16384,32768
[ "$quick" = no ] || contexts=8192,16384
graphs=0
for kernel in $kernels; do
    bench attn.jsonl attn --ctx "$contexts" --heads 16 --head-dim 128 --block 128,64 --density 1.0,0.5,0.3,0.1 --stats on --repeat 10
    bench decode.jsonl decode --prefix 32768,131072 --queries 16 --active 5 --pages 0.1 --repeat 10
done
peers --ctx "$contexts" --heads 16 --density 1.0,0.5,0.3,0.1
peers --ctx 32768,131072 --queries 16 --heads 32 --kv-heads 8
for kernel in $kernels; do
    bench step.jsonl step --shape llada-8b --layers 1 --ctx 512,8192 --repeat 5
    bench generate.jsonl generate --ctx 16384 --steps 128,1024 --sparse off,sparsed --repeat 2
    [ "$kernel" != mma ] || {
        graphs=1
        bench step.jsonl step --shape llada-8b --layers 1 --ctx 512,8192 --repeat 5
        bench generate.jsonl generate --ctx 16384 --steps 128,1024 --sparse off,sparsed --repeat 2
        graphs=0
    }
    [ "$quick" = no ] || continue
    bench attn.jsonl attn --ctx 8192 --heads 16 --head-dim 64,256 --density 1.0,0.3 --repeat 10
    bench attn.jsonl attn --ctx 65536 --heads 8 --density 1.0,0.3 --repeat 5
    bench generate.jsonl generate --ctx 65536 --steps 128,1024 --sparse off,sparsed --repeat 1
done

# ---------------------------------------------------------------- memory and races

sanitize() { # TOOL TEST KERNEL
    code=0
    within 25 env LAC_TEST_BACKEND=cuda LAC_CUDA_ATTEND="$3" "$sanitizer" --tool "$1" \
        --error-exitcode 9 "$programs/$2" >"$out/sanitizer.tmp" 2>&1 || code=$?
    { echo "== $*"; cat "$out/sanitizer.tmp"; } >>"$out/sanitizer.txt"
    case $code in
    0) say "sanitizer $*: clean" ;;
    124) say "sanitizer $*: not finished in its time" ;;
    125) say "sanitizer $*: not run, no time left" ;;
    *) if grep -q 'ERROR SUMMARY\|RACECHECK SUMMARY' "$out/sanitizer.tmp"; then
            failed "sanitizer $* (exit $code)"
        else
            say "sanitizer $*: cannot watch programs here (exit $code)"
        fi
        grep -m 8 '=========' "$out/sanitizer.tmp" | tee -a "$log" ;;
    esac
    rm -f "$out/sanitizer.tmp"
}
sanitizer=$(command -v compute-sanitizer || find /usr/local/cuda*/bin -name compute-sanitizer 2>/dev/null | head -n 1)
if [ -n "$sanitizer" ]; then
    : >"$out/sanitizer.txt"
    for tool in memcheck racecheck; do
        for kernel in $kernels; do sanitize $tool test_cuda_large "$kernel"; done
        sanitize $tool test_cuda_paged mma
        [ $tool = racecheck ] || sanitize $tool test_cuda_rows mma
        [ "$quick" = yes ] || sanitize $tool test_attend_parts mma
        [ "$quick" = yes ] || sanitize $tool test_cpu_select mma
    done
else
    say "compute-sanitizer is not installed: not run"
fi

# ---------------------------------------------------------------- the table

# Prints the rows, and which attention kernel, and which of graphs and plain launches, is faster; fails
# on a row whose result is wrong.
print_table() {
    "$python" - "$out" <<'PYTHON'
import json, os, statistics, sys

WRONG = 1e-2  # relative error of a bf16 result that no rounding explains


def rows_of(name):
    path = os.path.join(sys.argv[1], name + ".jsonl")
    for line in open(path):
        try:
            yield json.loads(line)
        except ValueError:
            print("%s: a row was cut off: %s" % (name, line[:60].strip()))


def put(x, form):
    return form % x if isinstance(x, (int, float)) else "-"


print("file    ctx     n_q     heads d    block density  policy        kernel  graphs ms       TFLOP/s  of peak  vs dense  rel_l2")
times, n_wrong = {}, 0
for name in ("attn", "decode", "step", "peers"):
    for r in rows_of(name):
        kernel = r.get("kernel") or "-"
        policy = r.get("variant") or r["policy"] + ("+stats" if r.get("stats") == "on" else "")
        what = (name, r["ctx"], r["n_q"], r["n_heads"], r["d_head"], r.get("block") or "-",
                put(r["density"], "%.3f"), policy)
        graphs = "yes" if r.get("graphs") else "-"
        times.setdefault(what, {})[kernel, graphs] = r["seconds_best"]
        print("%-7s %-7d %-7d %-5d %-4d %-5s %-8s %-13s %-7s %-6s %-8s %-8s %-8s %-9s %s" % (what + (
            kernel, graphs, put(r["seconds_best"] * 1e3, "%.3f"), put(r["gflops"] * 1e-3, "%.1f"),
            put(r.get("peak_share"), "%.3f"), put(r.get("vs_dense"), "%.2f"), put(r.get("rel_l2"), "%.1e"))))
        if isinstance(r.get("rel_l2"), float) and not r["rel_l2"] < WRONG:
            n_wrong += 1
            print("WRONG: the row above")
for r in rows_of("generate"):
    for part in ("ms_dense_step", "ms_sparse_step"):
        if isinstance(r.get(part), (int, float)):
            what = ("generate", r["ctx"], r["steps"], r["policy"], part)
            times.setdefault(what, {})[r["kernel"], "yes" if r.get("graphs") else "-"] = r[part]
    print("generate ctx %d, %d steps, %s, %s%s: dense step %s ms, sparse %s ms, vs dense %s" % (
        r["ctx"], r["steps"], r["policy"], r["kernel"], " with graphs" if r.get("graphs") else "",
        put(r.get("ms_dense_step"), "%.1f"), put(r.get("ms_sparse_step"), "%.1f"), put(r.get("vs_dense"), "%.2f")))


def compare(a, name_a, b, name_b, verb):
    ratios = [t[a] / t[b] for t in times.values() if a in t and b in t and t[b]]
    if not ratios:
        return
    middle = statistics.median(ratios)
    print("%s against %s, time of %s / time of %s: median %.2f, from %.2f to %.2f, %d rows: %s %s faster" % (
        name_b, name_a, name_a, name_b, middle, min(ratios), max(ratios), len(ratios),
        name_b if middle > 1 else name_a, verb))


compare(("mma", "-"), "mma", ("wgmma", "-"), "wgmma", "is")
compare(("mma", "-"), "plain launches", ("mma", "yes"), "graphs", "are")
sys.exit(1 if n_wrong else 0)
PYTHON
}
if command -v "$python" >/dev/null 2>&1; then
    code=0
    print_table >"$out/table.tmp" 2>&1 || code=$?
    tee -a "$log" <"$out/table.tmp"
    rm -f "$out/table.tmp"
    [ "$code" -eq 0 ] || failed "the table (exit $code)"
else
    say "no $python: the rows are in *.jsonl, without a table"
fi
say "done: $n_failed failed; results in $out"
[ "$n_failed" -eq 0 ]
