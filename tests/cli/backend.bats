#!/usr/bin/env bats
# Where a model runs: names, numbers and contradictions of --backend, --device and -ngl; one clear
# sentence where there is no GPU.

load helpers

setup() {
    NANO="$LACUNA_TEST_ROOT/models/nano-f"
}

@test "contradictions are refused by name" {
    run "$LACUNA" run -m "$NANO" -p x -n 1 --backend gpu
    [ "$status" -eq 2 ]
    [[ "$output" == *"--backend: 'gpu' is not one of cpu, cuda, auto"* ]]
    run "$LACUNA" run -m "$NANO" -p x -n 1 --backend cpu -ngl 3
    [ "$status" -eq 2 ]
    [[ "$output" == *"--backend cpu and --gpu-layers exclude each other"* ]]
    run "$LACUNA" inspect -m "$NANO" --device 0 -ngl 0
    [ "$status" -eq 2 ]
    [[ "$output" == *"--gpu-layers 0 and --device exclude each other"* ]]
    run "$LACUNA" run -m "$NANO" -p x -n 1 --device -1
    [ "$status" -eq 2 ]
}

@test "cpu by either name gives the same text" {
    "$LACUNA" run -m "$NANO" -p "hello there" -n 4 -q --dtype f32 >"$BATS_TEST_TMPDIR/a"
    "$LACUNA" run -m "$NANO" -p "hello there" -n 4 -q --dtype f32 -ngl 0 >"$BATS_TEST_TMPDIR/b"
    cmp "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
}

@test "without a GPU cuda is one sentence, auto is the CPU" {
    if nvidia-smi -L >/dev/null 2>&1; then skip "there is a GPU"; fi
    run "$LACUNA" run -m "$NANO" -p x -n 1 --backend cuda
    [ "$status" -eq 2 ]
    [ "${#lines[@]}" -eq 1 ]
    [[ "$output" == *CUDA* ]]
    run "$LACUNA" bench attn --backend cuda --ctx 128 -q
    [ "$status" -ne 0 ]
    "$LACUNA" run -m "$NANO" -p "hello there" -n 4 -q --backend auto
    run "$LACUNA_TEST_ROOT/scripts/gpu_check.sh"
    [ "$status" -eq 0 ]
    [ "${#lines[@]}" -eq 1 ]
}
