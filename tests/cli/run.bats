# run.bats: what `lacuna run` does, refuses and leaves behind.
load helpers

KEYS="text ids step_map logprobs finish_reason steps tokens_per_forward ms_per_step sparse seed forwards seconds density kept_mass model family algorithm block_length n_prompt n_ctx dtype threads"
PROMPT="Once upon a time there was"

@test "text on stdout, one summary line on stderr" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 16
    expect_ok
    [ -n "$OUT" ] || show "no text"
    [ "$(wc -l <"$SCRATCH/err")" -eq 1 ] || show "expected one line"
    for words in "nano-f" "low_confidence" "16 steps" "sparse dense" "tokens/forward" "ms/step" \
        "tokens/s delivered" "in-step"; do
        [[ $ERR == *"$words"* ]] || show "the summary lacks: $words"
    done
}

@test "quiet says nothing but the text" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -q
    expect_ok
    [ -z "$ERR" ] || show "expected nothing on stderr"
}

@test "verbose tells choices and memory" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -v
    expect_ok
    [[ $ERR == *"memory"*"MiB"* ]] || show "no memory plan"
    [[ $ERR == *"--block-length"* ]] || show "no options"
}

@test "the same prompt gives the answer it was trained for" {
    printf 'lamp: 3141\ngarden: 2718\nriver: 1618\n' >"$SCRATCH/keys"
    lacuna run -m "$MODEL" -f "$SCRATCH/keys" -p "What is garden? " -n 8 -q
    expect_ok
    [ "$OUT" = 2718 ] || show "expected 2718"
    lacuna run -m "$MODEL" -f - -p "What is river? " -n 8 -q <"$SCRATCH/keys"
    [ "$OUT" = 1618 ] || show "expected 1618"
}

@test "json holds one object with exactly the documented members" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 16 --json -q --seed 18446744073709551615
    expect_ok
    [ "$(wc -l <"$SCRATCH/out")" -eq 1 ] || show "expected one line"
    [ "$(json_keys)" = "$KEYS" ] || show "members: $(json_keys)"
    [ "$(json_value seed)" = 18446744073709551615 ] || show "seed"
    [ "$(json_value n_prompt)" -eq ${#PROMPT} ] || show "n_prompt"
    [ "$(json_value threads)" -ge 1 ] || show "threads"
    case $(json_value finish_reason) in '"stop"' | '"length"') ;; *) show "finish_reason" ;; esac
    commas=$(json_value ids | tr -cd , | wc -c)
    [ "$(json_value step_map | tr -cd , | wc -c)" -eq "$commas" ] || show "step_map length"
    [ "$(json_value logprobs | tr -cd , | wc -c)" -eq "$commas" ] || show "logprobs length"
}

@test "json says policy, density and kept mass of every policy" {
    head -c 300 "$LACUNA_TEST_ROOT/README.md" >"$SCRATCH/text"
    while read -r policy density mass; do
        lacuna run -m "$MODEL" -f "$SCRATCH/text" -n 16 --ignore-eos --sparse "$policy" --json -q
        expect_ok
        [[ $(json_value density) =~ ^$density$ ]] || show "density of $policy"
        [[ $(json_value kept_mass) =~ ^$mass$ ]] || show "kept mass of $policy"
    done <<'END'
off 1 1
sparsed 0\.[0-9]+ 0\.[0-9]+
fidelity 0\.[0-9]+ 0\.[0-9]+
window 0\.[0-9]+ null
END
}

@test "the same seed gives the same ids at any number of threads" {
    for temperature in 0 0.8; do
        lacuna run -m "$MODEL" -p "$PROMPT" -n 48 --steps 16 --temp $temperature --seed 7 --json -q -t 1
        expect_ok
        ids=$(json_value ids) logprobs=$(json_value logprobs)
        lacuna run -m "$MODEL" -p "$PROMPT" -n 48 --steps 16 --temp $temperature --seed 7 --json -q -t 2
        [ "$(json_value ids)" = "$ids" ] || show "ids differ from those of one thread: $ids"
        [ "$(json_value logprobs)" = "$logprobs" ] || show "log-probabilities differ: $logprobs"
    done
    lacuna run -m "$MODEL" -p "$PROMPT" -n 48 --steps 16 --temp 0.8 --seed 8 --json -q -t 2
    [ "$(json_value ids)" != "$ids" ] || show "another seed gave the same ids"
}

@test "-n is exact, -n 0 is refused" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 21 --ignore-eos --forbid-eos --json -q
    expect_ok
    [ "$(json_value ids | tr -cd , | wc -c)" -eq 20 ] || show "expected 21 ids"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 0
    expect_error 2 "-n 0"
}

@test "more steps than tokens are run: Dream's fix nothing, others end when all is fixed" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 10 --steps 20 --ignore-eos --json -q
    expect_ok
    [ "$(json_value steps)" -eq 10 ] || show "expected 10 steps"
    lacuna run -m "$MODEL" --canvas - --steps 4 -q <<<"a [MASK*3] b"
    expect_ok
    lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/dream" -p hello -n 4 --steps 16 --ignore-eos -q --trace "$SCRATCH/t"
    expect_ok
    [ "$(grep -o '"n_fixed":[0-9]*' "$SCRATCH/t" | tr -dc '0-9\n' | tr -d '\n')" = 0000000000000112 ] || show "steps"
}

@test "steps are counted in one way; a model without blocks takes either as the number of all" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --steps 4 --denoising-steps 2
    expect_error 2 "--steps 4" "--denoising-steps 2"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --denoising-steps 4 --ignore-eos --json -q
    expect_ok
    [ "$(json_value steps)" -eq 4 ] || show "expected 4 steps"
    lacuna eval -m "$MODEL" --steps 4 --denoising-steps 2
    expect_error 2 "--steps 4" "--denoising-steps 2"
}

@test "what is put off by a threshold gets steps of its own, in pictures too" {
    lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/dream" -p hello -n 6 --steps 2 --ignore-eos -q --trace "$SCRATCH/t" \
        --trace-masks --masks "$SCRATCH/m.csv" --algorithm confidence_threshold
    expect_ok
    [ "$(grep -c '"n_fixed":1' "$SCRATCH/t")" -eq 6 ] || show "expected 6 steps"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/again.csv"
    expect_ok
    cmp "$SCRATCH/m.csv" "$SCRATCH/again.csv"
}

@test "published angles are a quirk of the whole run" {
    for quirks in rope-f32 all; do
        lacuna run -m "$MODEL" -p "$PROMPT" -n 4 -q --quirks $quirks
        expect_ok
    done
}

@test "a prompt longer than the context is a usage error with both numbers" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -c 20
    expect_error 2 "${#PROMPT}" 20
    head -c 20000 /dev/zero | tr '\0' a >"$SCRATCH/long"
    lacuna run -m "$MODEL" -f "$SCRATCH/long" -n 8
    expect_error 2 20000 16384 --ctx-size
}

@test "a context beyond the model's runs with one warning" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -c 20000
    expect_ok
    [ "$(grep -c warning <<<"$ERR")" -eq 1 ] || show "not one warning"
    [[ $ERR == *20000*16384*--rope-scale* ]] || show "not both numbers and a flag"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -c 20000 --rope-scale 2
    expect_ok
    [[ $ERR == *20000*16384* && $ERR != *--rope-scale* ]] || show "the flag is named though given"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -c 20000 -q
    [ -z "$ERR" ] || show "--quiet says something"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 -c 16777217
    expect_error 2 16777217
}

@test "nothing to do, two readers of stdin, hole without canvas" {
    lacuna run -p x
    expect_error 2 "no model" "LACUNA_ARG_MODEL"
    lacuna run -m "$MODEL"
    expect_error 2 "-p TEXT"
    lacuna run -m "$MODEL" -f - --canvas -
    expect_error 2 "standard input"
    lacuna run -m "$MODEL" -p x --hole _
    expect_error 2 "--canvas"
}

@test "a document that is not there, or is a folder" {
    lacuna run -m "$MODEL" -f "$SCRATCH/absent"
    expect_error 1 "$SCRATCH/absent" "No such file"
    lacuna run -m "$MODEL" -f "$SCRATCH"
    expect_error 1 "$SCRATCH" "directory"
}

@test "attention policies that are not there are refused by name" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --sparse nonsense
    expect_error 2 nonsense
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --sparse off -q
    expect_ok
}

@test "a run beyond the memory limit is refused with both numbers" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --max-memory 1M
    expect_error 4 "1.0 MiB" "would take"
}

@test "bytes that are not UTF-8 are kept by the byte tokenizer and repaired in JSON" {
    printf 'caf\351 \377\376 time' >"$SCRATCH/bytes"
    lacuna run -m "$MODEL" -f "$SCRATCH/bytes" -n 4 --json -q
    expect_ok
    [ "$(json_value n_prompt)" -eq 12 ] || show "expected 12 prompt tokens"
}

@test "bytes that are not UTF-8 are replaced for other tokenizers, with one warning" {
    printf 'caf\351 x' >"$SCRATCH/bytes"
    lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/qwen3" -f "$SCRATCH/bytes" -n 4 -q
    expect_ok
    [ "$(wc -l <"$SCRATCH/err")" -eq 1 ] || show "expected one line"
    [[ $ERR == *warning*"not UTF-8 from byte 3"*"U+FFFD"* ]] || show "expected a warning"
    lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/tiny-dlm-random" -f "$SCRATCH/bytes" -n 4 -q
    expect_ok
    [[ $ERR == *warning*"ASCII at byte 3"* ]] || show "expected a warning"
}

@test "confidence means what the model family means by it" {
    for pair in dream:maskgit_plus llada-olmo:low_confidence; do
        lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/${pair%:*}" -p hello -n 4 --json -q --diffusion-algorithm 4
        expect_ok
        [ "$(json_value algorithm)" = "\"${pair#*:}\"" ] || show "expected ${pair#*:}"
    done
}

@test "chat template none is the bare text, special tokens stay text" {
    lacuna run -m "$MODEL" -p "<|eos|> $PROMPT" --chat-template none -n 4 --json -q
    expect_ok
    [ "$(json_value n_prompt)" -eq $((8 + ${#PROMPT})) ] || show "special token in plain text"
    lacuna run -m "$MODEL" -p x --chat-template chatml --parse-special
    [ "$STATUS" -eq 2 ] || show "expected status 2"
}

@test "infill keeps the text around the holes" {
    lacuna run -m "$MODEL" --canvas - -q <<<"The little girl [MASK*6] the door and looked [MASK][MASK][MASK]."
    expect_ok
    [[ $OUT == "The little girl "*" the door and looked "*. ]] || show "the given text changed"
    lacuna run -m "$MODEL" --canvas - --hole '___' --json -q <<<"The ___ sat"
    expect_ok
    [ "$(json_keys)" = "$KEYS canvas_text" ] || show "members: $(json_keys)"
    [ "$(json_value n_prompt)" -eq 9 ] || show "n_prompt"
    [[ $(json_value canvas_text) == '"The '*' sat\n"' ]] || show "canvas_text"
    lacuna run -m "$MODEL" --canvas - -n 5 --json -q <<<"No hole inside"
    expect_ok
}

@test "a mask token in a prompt is a hole, and the text is printed whole" {
    lacuna run -m "$MODEL" -p "The c<|mask|>t sat" --parse-special -n 6 --ignore-eos --json -q
    expect_ok
    [ "$(json_value n_prompt)" -eq 10 ] || show "expected 10 prompt tokens"
    [ "$(json_value ids | tr -cd , | wc -c)" -eq 6 ] || show "expected 7 ids"
    [[ $(json_value canvas_text) == '"The c'*'t sat'* ]] || show "canvas_text"
    # without -n nothing is added, as in a canvas, and a canvas reads the same token
    lacuna run -m "$MODEL" -p "The c<|mask|><|mask|>t sat" --parse-special -q
    expect_ok
    by_token=$OUT
    [[ $OUT == "The c"*"t sat" ]] || show "the text around the holes"
    lacuna run -m "$MODEL" -p "The c<|mask|><|mask|>t sat" --parse-special -n 0 -q
    [ "$OUT" = "$by_token" ] || show "-n 0 adds tokens"
    for canvas in "The c<|mask|><|mask|>t sat" "The c[MASK*2]t sat" "The c[MASK]<|mask|>t sat"; do
        lacuna run -m "$MODEL" --canvas - --parse-special -q < <(printf '%s' "$canvas")
        expect_ok
        [ "$OUT" = "$by_token" ] || show "$canvas differs: $by_token"
    done
    lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/llada-olmo" -p 'a<|mdm_mask|>b' --parse-special -n 6 --steps 7 --json -q
    expect_ok
}

@test "a mask that stays text is said to" {
    lacuna run -m "$MODEL" -p "The c<|mask|>t" -n 4 --json
    expect_ok
    [ "$(json_value n_prompt)" -eq 14 ] || show "expected text"
    [[ $ERR == *"warning: <|mask|> in the prompt is text; --parse-special"* ]] || show "nothing said"
    lacuna run -m "$MODEL" -p "The [MASK] sat" -n 4
    [[ $ERR == *"warning: [MASK] in the prompt is text"*"--canvas"* ]] || show "nothing said"
    lacuna run -m "$MODEL" -p "The [MASK] sat" -n 4 -q
    [ -z "$ERR" ] || show "expected nothing on stderr"
}

@test "nothing to fill where mask tokens were looked for" {
    lacuna run -m "$MODEL" -p "The cat" --parse-special -n 0
    expect_error 2 "-n 0" "no hole"
    lacuna run -m "$MODEL" --canvas - --parse-special <<<'The cat'
    expect_error 2 "no hole" "[MASK]"
}

@test "a hole inside the text of a block-wise model is refused with both positions" {
    lacuna run -m "$LACUNA_TEST_ROOT/models/nano-b" -p "The c<|mask|>t" --parse-special -n 4
    expect_error 2 "position 6" "hole at 5"
}

@test "a canvas without holes, or with holes beyond counting" {
    lacuna run -m "$MODEL" --canvas - <<<"nothing missing"
    expect_error 2 "no hole" "[MASK]"
    lacuna run -m "$MODEL" --canvas - <<<"a [MASK*0] b"
    expect_error 2 "[MASK*0]"
    lacuna run -m "$MODEL" --canvas - <<<"a [MASK*99999999999999999999999999] b"
    expect_error 2 "[MASK*9"
}

@test "the view becomes short plain lines where there is no terminal" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 64 --visual -q
    expect_ok
    lines=$(wc -l <"$SCRATCH/err")
    [ "$lines" -ge 8 ] && [ "$lines" -le 24 ] || show "expected 8 to 24 lines"
    [[ $ERR == *"step 64/64"*"fixed 64/64"* ]] || show "no last step"
    ! grep -q "$(printf '\033')" "$SCRATCH/err" || show "escape sequences in a log"
}

@test "full disk behind stdout" {
    [ -w /dev/full ] || skip "no /dev/full here"
    STATUS=0
    "$LACUNA" run -m "$MODEL" -p "$PROMPT" -n 4 -q >/dev/full 2>"$SCRATCH/err" || STATUS=$?
    OUT='' ERR=$(cat "$SCRATCH/err")
    expect_error 1 "standard output"
}
