# general.bats: help, version, and what is said to a mistyped command line.
load helpers

@test "help lists the commands that exist and no others" {
    lacuna --help
    expect_ok
    for name in run eval inspect tokenize bench; do
        [[ $OUT == *"  $name "* ]] || show "no $name"
    done
    for name in serve quantize; do
        [[ $OUT != *"$name"* ]] || show "$name is not in this version"
    done
    [ -z "$ERR" ] || show "expected nothing on stderr"
}

@test "each command explains its flags and gives an example" {
    for name in run eval inspect tokenize; do
        lacuna "$name" --help
        expect_ok
        [[ $OUT == "usage: lacuna $name"* ]] || show "no usage"
        [[ $OUT == *"--model"*"example:"*"lacuna $name"* ]] || show "no flags or example"
        by_word=$OUT
        lacuna help "$name"
        [ "$OUT" = "$by_word" ] || show "help $name differs from $name --help"
        [ "$("$LACUNA" "$name" --help | wc -L)" -le 100 ] || show "a line is too long"
    done
}

@test "help of run names every flag" {
    lacuna run --help
    for flag in model prompt file system-prompt canvas hole n-predict steps block-length algorithm \
        temp top-k top-p threshold alg-temp eps cfg-scale seed ignore-eos forbid-eos late-eos shift \
        quirks sparse ctx-size threads dtype chat-template parse-special visual trace json verbose \
        quiet no-color; do
        [[ $OUT == *"--$flag"* ]] || show "no --$flag"
    done
}

@test "version is three numbers and one line about the build" {
    lacuna --version
    expect_ok
    [[ $OUT =~ ^lacuna\ [0-9]+\.[0-9]+\.[0-9]+ ]] || show "no version"
    [ "$(wc -l <"$SCRATCH/out")" -eq 2 ] || show "expected two lines"
}

@test "no command" {
    lacuna
    expect_error 2 "lacuna --help"
}

@test "unknown command, with a suggestion" {
    lacuna rnu
    expect_error 2 "'rnu'" "did you mean run"
    lacuna frobnicate
    expect_error 2 "'frobnicate'"
}

@test "commands of later versions are refused by name" {
    for name in serve quantize; do
        lacuna "$name" --whatever
        expect_error 2 "$name is not in this version" "run, eval, inspect, tokenize and bench"
    done
}

@test "unknown flag, with a suggestion" {
    lacuna run -m "$MODEL" -p x --stesp 4
    expect_error 2 "--stesp" "did you mean --steps"
    lacuna run -m "$MODEL" -p x --zzzzzz
    expect_error 2 "--zzzzzz"
    lacuna inspect --zzz
    expect_error 2 "--zzz"
}

@test "flag without value, value without flag, stray argument" {
    lacuna run -m "$MODEL" -p
    expect_error 2 "-p needs a value"
    lacuna run -m "$MODEL" -p x --json=1
    expect_error 2 "takes no value"
    lacuna run -m "$MODEL" -p x stray
    expect_error 2 "'stray'"
}

@test "numbers are read strictly, naming flag and value" {
    for value in 3x "" " 3" 99999999999999999999 -1 0x10 nan; do
        lacuna run -m "$MODEL" -p x --steps "$value"
        expect_error 2 "--steps: '$value'"
    done
    for value in nan inf 1e999 0.5z -1 0x1p3 ""; do
        lacuna run -m "$MODEL" -p x --temp "$value"
        expect_error 2 "--temp: '$value'"
    done
    lacuna run -m "$MODEL" -p x --top-p 1.5
    expect_error 2 "--top-p: '1.5'"
    lacuna run -m "$MODEL" -p x --seed 18446744073709551616
    expect_error 2 "--seed: '18446744073709551616'"
    lacuna run -m "$MODEL" -p x --max-memory 8X
    expect_error 2 "--max-memory: '8X'"
}

@test "words are checked, naming what would do" {
    lacuna run -m "$MODEL" -p x --algorithm best
    expect_error 2 "--algorithm: 'best'" "low_confidence"
    lacuna run -m "$MODEL" -p x --dtype f64
    expect_error 2 "--dtype: 'f64'" "bf16"
    lacuna run -m "$MODEL" -p x --shift maybe
    expect_error 2 "--shift: 'maybe'"
    lacuna run -m "$MODEL" -p x --quirks zero-step,none,nope
    expect_error 2 "--quirks: 'nope'" "bf16-confidence"
    lacuna run -m "$MODEL" -p x --chat-template nope
    expect_error 2 "--chat-template: 'nope'" "none"
}

@test "the environment mirrors flags, a flag wins" {
    LACUNA_ARG_STEPS=x lacuna run -m "$MODEL" -p x
    expect_error 2 "LACUNA_ARG_STEPS: 'x'"
    LACUNA_ARG_MODEL="$MODEL" LACUNA_ARG_STEPS=x lacuna run -p x -n 4 --steps 2 -q
    expect_ok
    LACUNA_ARG_MODEL="$MODEL" LACUNA_ARG_JSON=1 LACUNA_ARG_N_PREDICT=3 LACUNA_ARG_QUIET=on lacuna run -p x
    expect_ok
    [ "$(json_value steps)" -eq 3 ] || show "expected 3 steps"
    LACUNA_ARG_JSON=perhaps lacuna run -m "$MODEL" -p x
    expect_error 2 "LACUNA_ARG_JSON: 'perhaps'"
}

@test "aliases of other programs work, with one dash or two" {
    for how in "--n-predict 8 --steps 4 --algorithm entropy --temp 0" \
        "-n 8 -steps 4 -alg entropy -temperature 0" \
        "--gen_length 8 --diffusion-steps 4 --diffusion-algorithm 1" \
        "--max-new-tokens 8 --steps 4 --remasking entropy"; do
        # shellcheck disable=SC2086 # words on purpose
        lacuna run -m "$MODEL" -p "Once upon a time" --json -q $how
        expect_ok
        [ "$(json_value algorithm)" = '"entropy"' ] || show "algorithm"
        ids=$(json_value ids)
        [ "${first:=$ids}" = "$ids" ] || show "ids differ from those of the canonical names"
    done
}
