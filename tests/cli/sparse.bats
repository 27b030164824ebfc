# sparse.bats: the flags that choose and shape sparse attention.
load helpers

PROMPT="Once upon a time there was"

# refused FLAG VALUE WORDS...: a usage error of $policy that names the flag, the value and the range.
refused() {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --sparse "${policy:-sparsed}" "$1" "$2"
    expect_error 2 "$@"
}

@test "values out of range are refused with flag, value and range" {
    for value in 0 -0.1 1.01 x ''; do refused --select "$value" "above 0 and at most 1"; done
    for value in 1 -0.5 2 nan; do refused --skip "$value" "from 0 to below 1"; done
    for value in 0 1.5 -1 0.9x; do refused --fidelity "$value" "above 0 and at most 1"; done
    for value in 0 8 48 256 12.5; do refused --sparse-block "$value" "16, 32, 64 or 128"; done
    policy=window refused --window 0 "from 1"
    policy=streaming refused --sink -1 "from 0"
    policy=pulsecol refused --refreshes 0 "from 1"
    policy=sparsed refused --skip 0.1,select=1 "one value"
}

@test "words that are none are refused with those that are" {
    refused --sparsed-mode exact "default, paper or reference"
    refused --sparsed-boundary prompt "keep, aligned or reference"
    refused --plan-group layer "head or kv"
    refused --switch never "fixed or auto"
    refused --refresh on "off or auto"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --sparse sparsedd
    expect_error 2 sparsedd "sparsed, fidelity, pulsecol, window, streaming"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --sparse sparsed --sparsed-score sqrt_h
    expect_error 2 "sqrt_h" "4 heads of 32"
}

@test "every policy runs and is named" {
    for policy in sparsed fidelity pulsecol window streaming; do
        lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --sparse $policy --sparse-block 16 --json
        expect_ok
        [ "$(json_value sparse)" = "\"$policy\"" ] || show "expected $policy"
        [[ $ERR == *"sparse $policy (as asked)"* ]] || show "no reason"
    done
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --sparse auto
    [[ $ERR == *"sparse dense (auto: a context of 34"* ]] || show "no reason"
}

@test "every variant of SparseD runs" {
    for flags in "--sparsed-mode paper" "--sparsed-mode reference" "--sparsed-isolated none" \
        "--sparsed-keep reference --sparsed-ragged diluted" "--sparsed-boundary aligned" \
        "--sparsed-reset block --block-length 4" "--sparsed-reset step" "--switch auto --refresh auto" \
        "--plan-group kv --fidelity 0.9" "--fidelity 0.99 --select 0.1" "--skip 0 --select 1 --sparsed-schedule reference"; do
        lacuna run -m "$MODEL" -p "$PROMPT" -n 12 --sparse sparsed --sparse-block 16 $flags -q
        expect_ok
    done
}

@test "a block that holds the whole context is said to" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --sparse sparsed --sparse-block 128
    expect_ok
    [[ $ERR == *"one block of 128 holds the whole context of 34"* ]] || show "nothing said"
}

@test "a full budget gives the tokens of dense" {
    head -c 300 "$LACUNA_TEST_ROOT/README.md" >"$SCRATCH/text"
    lacuna run -m "$MODEL" -f "$SCRATCH/text" -n 32 --ignore-eos --dtype f32 --sparse off --json -q
    ids=$(json_value ids)
    for policy in sparsed:skip=0 pulsecol window streaming; do
        lacuna run -m "$MODEL" -f "$SCRATCH/text" -n 32 --ignore-eos --dtype f32 --sparse $policy \
            --select 1 --json -q
        expect_ok
        [ "$(json_value ids)" = "$ids" ] || show "$policy differs: $ids"
    done
}

@test "sparse runs give the same tokens at any number of threads" {
    head -c 700 "$LACUNA_TEST_ROOT/README.md" >"$SCRATCH/text"
    lacuna run -m "$MODEL" -f "$SCRATCH/text" -n 24 --ignore-eos --sparse sparsed --refresh auto --json -q -t 1
    expect_ok
    logprobs=$(json_value logprobs)
    lacuna run -m "$MODEL" -f "$SCRATCH/text" -n 24 --ignore-eos --sparse sparsed --refresh auto --json -q -t 2
    [ "$(json_value logprobs)" = "$logprobs" ] || show "expected $logprobs"
}

@test "knobs follow the policy's name, and a flag for one is the same" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --sparse "sparsed:block=16,select=0.5,skip=0" --seed 3 --temp 0.7 --json -q
    expect_ok
    ids=$(json_value ids) density=$(json_value density)
    [ "$(json_value sparse)" = '"sparsed"' ] || show "name"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --sparse sparsed:block=16 --select 0.5 --skip 0 --seed 3 --temp 0.7 --json -q
    expect_ok
    [ "$(json_value ids),$(json_value density)" = "$ids,$density" ] || show "expected $ids $density"
}

@test "a knob the policy does not have is refused with those it has" {
    lacuna run -m "$MODEL" -p "$PROMPT" --sparse window:budget=0.5
    expect_error 2 window '"budget"' "it has window, select, block"
    lacuna run -m "$MODEL" -p "$PROMPT" --sparse window --budget 0.5 --active 3
    expect_error 2 --budget window "it has window, select, block"
    lacuna run -m "$LACUNA_TEST_ROOT/models/nano-b" -p "$PROMPT" --sparse losa --skip 0.5
    expect_error 2 --skip losa "it has budget, active"
    lacuna run -m "$MODEL" -p "$PROMPT" --sparse losa
    expect_error 2 losa "can run auto, off, dense, sparsed, fidelity, pulsecol, window, streaming"
    lacuna run -m "$MODEL" -p "$PROMPT" --sparse window:select
    expect_error 2 "no value; write select=VALUE"
    lacuna run -m "$MODEL" -p "$PROMPT" --sparse window:select=0.5 --select 0.5
    expect_error 2 select "given twice"
}

@test "eval and bench take policies with knobs in a list" {
    lacuna eval -m "$MODEL" --tasks kv --ctx 256 --samples 1 --steps 2 -q --csv \
        --sparse "window:select=0.2,block=16,sparsed,window"
    expect_ok
    grep -q '^kv,256,"window:select=0.2,block=16",' "$SCRATCH/out" || show "no row of its own"
    [ "$(grep -c '^kv,256,' "$SCRATCH/out")" -eq 4 ] || show "four policies"
    lacuna eval -m "$MODEL" --tasks kv --ctx 256 --samples 1 --steps 2 -q --sparse window --budget 5
    expect_error 2 --budget window
}

@test "inspect lists the policies and their knobs" {
    lacuna inspect --policies
    expect_ok
    grep -q '^## losa, on models that decode blocks behind a key cache$' "$SCRATCH/out" || show "losa"
    grep -q '^| `budget` | 512 | a whole number from 1' "$SCRATCH/out" || show "budget"
    lacuna inspect --policies --json
    expect_ok
    grep -q '"name":"window","about":"[^"]*","full":true,"blockwise":false,"knobs":\[{"name":"window",' "$SCRATCH/out" ||
        show "json"
}
