#!/usr/bin/env bats
# scripts/gpu_check.sh against a pretended card: what it runs, writes and says, without the card.

load helpers

setup() {
    command -v python3 >/dev/null || skip "no python3"
    unset LAC_CUDA_ATTEND LAC_CUDA_GRAPH OUT
    BUNDLE="$BATS_TEST_TMPDIR/bundle"
    export OUT="$BATS_TEST_TMPDIR/out" PATH="$BATS_TEST_TMPDIR/bin:$PATH"
    mkdir -p "$BUNDLE/lib" "$BATS_TEST_TMPDIR/bin"
    program "$BATS_TEST_TMPDIR/bin/nvidia-smi" 'case $* in *compute_cap*) echo "${CAP:-9.0}" ;; *) echo "GPU 0" ;; esac'
    program "$BATS_TEST_TMPDIR/bin/compute-sanitizer" 'echo "========= ERROR SUMMARY: 0 errors"'
    for name in test_cuda_rows test_attend test_attend_batch test_attend_parts test_attend_stats \
        test_cpu_select test_cuda_large test_cuda_paged test_cuda_generate test_cuda_graph \
        test_cuda_jobs; do
        program "$BUNDLE/$name" true
    done
    program "$BUNDLE/lacuna" 'rel=${REL:-1e-3} ms=0.002
[ "$LAC_CUDA_ATTEND" != wgmma ] || ms=0.001
step=$ms
[ "$LAC_CUDA_GRAPH" != 1 ] || step=0.004
case $1 in
run) echo "same text" ;;
bench) case $2 in
    generate) echo "{\"ctx\": 16384, \"steps\": 128, \"policy\": \"sparsed\", \"ms_dense_step\": ${step}e3, \"ms_sparse_step\": null, \"vs_dense\": 1.5}" ;;
    *) echo "{\"ctx\": 8192, \"n_q\": 8192, \"n_heads\": 16, \"d_head\": 128, \"block\": 128, \"density\": 1, \"policy\": \"off\", \"seconds_best\": $step, \"gflops\": 100, \"rel_l2\": $rel}" ;;
    esac ;;
esac'
    program "$BATS_TEST_TMPDIR/bin/python-no-torch" \
        'case $1 in bench/*) exit 77 ;; esac; exec python3 "$@"'
    export PYTHON="$BATS_TEST_TMPDIR/bin/python-no-torch"
}

program() { # FILE SCRIPT
    printf '#!/bin/sh\n%s\n' "$2" >"$1"
    chmod +x "$1"
}

check() {
    run "$LACUNA_TEST_ROOT/scripts/gpu_check.sh" --from "$BUNDLE" "$@"
}

@test "both kernels run, and graphs; what is faster is named" {
    check --quick
    [ "$status" -eq 0 ]
    [[ "$output" == *"test test_attend (wgmma): passed"* ]]
    [[ "$output" == *"test test_cuda_paged (wgmma): passed"* ]]
    [[ "$output" == *"test test_cuda_generate (mma, graphs): passed"* ]]
    [[ "$output" == *"bench step "*"(mma, graphs): 1 rows"* ]]
    [[ "$output" == *"median 2.00"*"wgmma is faster"* ]]
    [[ "$output" == *"time of graphs: median 0.50"*"plain launches are faster"* ]]
    [[ "$output" == *"peers"*"stopped (exit 77)"* ]]
    [[ "$output" == *"sanitizer racecheck test_cuda_large wgmma: clean"* ]]
    [[ "$output" == *"done: 0 failed"* ]]
    [ "$(find "$OUT" -type f | wc -l)" -le 8 ]
    grep -q '"kernel": "wgmma"' "$OUT/attn.jsonl"
    grep -q '"graphs": 1' "$OUT/step.jsonl"
    grep -q 'wgmma is faster' "$OUT/log.txt"
}

@test "an older card has one kernel; a bundle may be a file" {
    tar -C "$BUNDLE" -czf "$BATS_TEST_TMPDIR/b.tar.gz" .
    BUNDLE="$BATS_TEST_TMPDIR/b.tar.gz"
    CAP=8.0 check --quick
    [ "$status" -eq 0 ]
    [[ "$output" == *"no compute capability 9"* ]]
    [[ "$output" != *"mma is faster"* ]]
}

@test "a wrong result, a broken row and a failing test are failures" {
    REL=0.5 check --quick
    [ "$status" -eq 1 ]
    [[ "$output" == *"WRONG"*"FAILED: the table"* ]]
    program "$BUNDLE/test_cuda_rows" 'echo "1 FAILED"; exit 3'
    check --quick
    [ "$status" -eq 1 ]
    [[ "$output" == *"FAILED: test test_cuda_rows (mma), exit 3"* ]]
    [[ "$output" == *"done: 1 failed"* ]]
}
