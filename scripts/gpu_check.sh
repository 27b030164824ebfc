#!/bin/sh
# gpu_check.sh: everything that needs an NVIDIA GPU, in one command of less than eight minutes: builds,
# compares the CUDA backend with the CPU, runs compute-sanitizer, compares tokens, times attention,
# decoding and a step, and PyTorch's attention in the same run. Results are written as they come.
# Without a GPU it says so in one line and exits 0.
set -eu
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
usage: scripts/gpu_check.sh [--quick] [--from FOLDER]
       scripts/gpu_check.sh --bundle FOLDER

  --quick          fewer tests under the sanitizer, fewer sizes; about three minutes
  --from FOLDER    run the programs of a bundle instead of building here
  --bundle FOLDER  no GPU needed: build here, and gather programs and shared libraries in FOLDER,
                   for a machine with a GPU that lacks the libraries to build with
  --help           print this

Results: eight files in the folder OUT names (bench/results/gpu). Exit status: 0 when all that ran
is well or there is no GPU, 1 when something failed, 2 for a wrong option.
TEXT
}

quick=no from='' bundle=''
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --from | --bundle)
        [ $# -ge 2 ] || { echo "gpu_check: $1 needs a folder" >&2; exit 2; }
        if [ "$1" = --from ]; then from=$2; else bundle=$2; fi
        shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "gpu_check: unknown option '$1'; see --help" >&2; exit 2 ;;
    esac
    shift
done

tests='test_cuda_rows test_attend test_attend_batch test_attend_parts test_attend_stats test_cpu_select
    test_cuda_large test_cuda_generate test_cuda_jobs'
started=$(date +%s)
seconds() { echo $(($(date +%s) - started)); }

# ---------------------------------------------------------------- building

build() { # FOLDER OPTION...
    folder=$1
    shift
    cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DLAC_TESTS=ON -DLAC_CUDA=ON "$@" || return 1
    # shellcheck disable=SC2086 # a list of targets
    cmake --build "$folder" -j "$(nproc)" --target lacuna $tests
}

# Programs, and the shared libraries they need beside those of the C library.
make_bundle() {
    build build/bundle -DLAC_ONEDNN=OFF -DLAC_EXAMPLES=OFF
    mkdir -p "$bundle/lib"
    cp build/bundle/lacuna "$bundle/"
    for name in $tests; do cp "build/bundle/tests/$name" "$bundle/"; done
    strip "$bundle"/lacuna "$bundle"/test_*
    for program in "$bundle"/lacuna "$bundle"/test_*; do ldd "$program"; done |
        sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
        grep -vE '/(libc|libm|libdl|librt|libpthread|ld-linux[^/]*)\.so' | xargs cp -Lt "$bundle/lib"
    echo "gpu_check: $(du -sh "$bundle" | cut -f 1) in $bundle; there: scripts/gpu_check.sh --from $bundle"
}

if [ -n "$bundle" ]; then
    make_bundle
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
    file=$(find "$folder" -name 'libcublas.so.1*' 2>/dev/null | head -n 1)
    [ -z "$file" ] || break
done
if [ -n "$file" ]; then
    LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(dirname "$file")
    export LD_LIBRARY_PATH
fi
say "matrix products by ${file:-the plain kernel: no libcublas was found}"
export LACUNA_TEST_ROOT="$PWD"

# ---------------------------------------------------------------- right?

for name in $tests; do
    backend=cuda
    [ "$name" != test_cuda_jobs ] || backend=cpu
    if LAC_TEST_BACKEND=$backend timeout 60 "$programs/$name" >"$out/tests.tmp" 2>&1; then
        say "test $name: passed"
    else
        failed "$name (exit $?)"
        grep -E 'FAILED|ERROR|error|skipped' "$out/tests.tmp" | head -n 8 | tee -a "$log"
    fi
    { echo "== $name"; cat "$out/tests.tmp"; } >>"$out/tests.txt"
done
rm -f "$out/tests.tmp"

# Token for token in f32: greedy, noise, guidance.
compare_tokens() { # ARGUMENTS of lacuna run
    cpu=$(timeout 60 "$lacuna" run -m models/nano-f --dtype f32 -q "$@" --backend cpu) || cpu='cpu failed'
    gpu=$(timeout 60 "$lacuna" run -m models/nano-f --dtype f32 -q "$@" --backend cuda 2>&1) || gpu="failed: $gpu"
    printf 'options %s\ncpu  %s\ncuda %s\n' "$*" "$cpu" "$gpu" >>"$out/tokens.txt"
    if [ "$cpu" = "$gpu" ]; then say "tokens $*: equal"; else failed "tokens $*"; fi
}
text='One of the special magic numbers for garden is: 4417. What is the number for garden? '
compare_tokens -p "$text" -n 16
compare_tokens -p "$text" -n 16 --temp 0.8 --seed 3
compare_tokens -p "$text" -n 12 --cfg-scale 1
compare_tokens -p "$text" -n 12 --top-k 5 --temp 0.7

# ---------------------------------------------------------------- fast?

bench() { # FILE ARGUMENTS of lacuna bench
    file=$out/$1
    shift
    if timeout 100 "$lacuna" bench "$@" --backend cuda -t 1 --repeat 10 --json >>"$file" 2>>"$log"; then
        say "bench $*: $(wc -l <"$file") rows"
    else
        failed "bench $*"
    fi
}
peers() { # ARGUMENTS of torch_attn_cuda.py
    LD_LIBRARY_PATH=$libraries timeout 120 "$python" bench/peers/torch_attn_cuda.py "$@" >>"$out/peers.jsonl" 2>>"$log" ||
        say "peers $*: stopped (exit $?)"
}
: >"$out/attn.jsonl"
: >"$out/decode.jsonl"
: >"$out/step.jsonl"
: >"$out/peers.jsonl"
contexts=8192,16384,32768
[ "$quick" = no ] || contexts=8192,16384
bench attn.jsonl attn --ctx "$contexts" --heads 16 --head-dim 128 --block 128,64 --density 1.0,0.5,0.3,0.1 --stats on
peers --ctx "$contexts" --heads 16 --density 1.0,0.5,0.3,0.1
bench decode.jsonl decode --prefix 32768,131072 --queries 16 --active 5 --pages 0.1
peers --ctx 32768,131072 --queries 16 --heads 32 --kv-heads 8
if [ "$quick" = no ]; then
    bench attn.jsonl attn --ctx 8192 --heads 16 --head-dim 64,256 --density 1.0,0.3
    bench attn.jsonl attn --ctx 65536 --heads 8 --density 1.0,0.3
    bench step.jsonl step --shape llada-8b --layers 1 --ctx 8192,65536
else
    bench step.jsonl step --shape llada-8b --layers 1 --ctx 8192
fi

# ---------------------------------------------------------------- memory and races

if command -v compute-sanitizer >/dev/null 2>&1; then
    for tool in memcheck racecheck; do
        checked=test_cuda_large
        [ "$tool" = racecheck ] || checked="$checked test_cuda_rows"
        [ "$quick" = yes ] || checked="$checked test_attend_parts test_cpu_select"
        for name in $checked; do
            { echo "== $tool $name"; } >>"$out/sanitizer.txt"
            code=0
            LAC_TEST_BACKEND=cuda timeout 25 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$programs/$name" >>"$out/sanitizer.txt" 2>&1 || code=$?
            case $code in
            0) say "sanitizer $tool $name: clean" ;;
            124) say "sanitizer $tool $name: not finished in 25 s" ;;
            *) failed "sanitizer $tool $name (exit $code)"
                grep -m 4 -A 3 '=========' "$out/sanitizer.txt" | tail -n 8 | tee -a "$log" ;;
            esac
        done
    done
else
    say "compute-sanitizer is not installed: not run"
fi

# ---------------------------------------------------------------- the table

"$python" - "$out" <<'PYTHON' 2>/dev/null | tee -a "$log" || true
import json, os, sys
print("file    ctx     n_q     heads d    block density  policy        ms      TFLOP/s  of peak  vs dense  rel_l2")
for name in ("attn", "decode", "step", "peers"):
    path = os.path.join(sys.argv[1], name + ".jsonl")
    for line in open(path) if os.path.exists(path) else ():
        r = json.loads(line)
        put = lambda x, form: form % x if isinstance(x, (int, float)) else "-"
        print("%-7s %-7d %-7d %-5d %-4d %-5s %-8s %-13s %-8s %-8s %-8s %-9s %s" % (
            name, r["ctx"], r["n_q"], r["n_heads"], r["d_head"], r.get("block") or "-",
            put(r["density"], "%.3f"), r.get("variant") or r["policy"] + ("+stats" if r.get("stats") == "on" else ""),
            put(r["seconds_best"] * 1e3, "%.3f"), put(r["gflops"] * 1e-3, "%.1f"),
            put(r.get("peak_share"), "%.3f"), put(r.get("vs_dense"), "%.2f"), put(r.get("rel_l2"), "%.1e")))
PYTHON
say "done: $n_failed failed; results in $out"
[ "$n_failed" -eq 0 ]
