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

@test "help of run is one screen, help-all names every flag" {
    lacuna run --help
    expect_ok
    [ "$(wc -l <"$SCRATCH/out")" -le 45 ] || show "more than a screen"
    for flag in model prompt file canvas n-predict steps block-length algorithm temp seed sparse \
        threads visual json quiet help-all; do
        [[ $OUT == *"--$flag "* ]] || show "no --$flag"
    done
    common=$(grep -c '^ *\(-., \)\?--' "$SCRATCH/out")
    lacuna run --help-all
    expect_ok
    [ "$(wc -L <"$SCRATCH/out")" -le 100 ] || show "a line is too long"
    for group in Model Prompt Decoding Attention Output; do
        grep -qx "$group" "$SCRATCH/out" || show "no group $group"
    done
    for flag in model prompt file system-prompt canvas hole n-predict steps block-length algorithm \
        temp top-k top-p threshold alg-temp eps cfg-scale seed ignore-eos forbid-eos late-eos shift \
        logits-eos-inf confidence-eos-eot-inf denoising-steps cut-last-block \
        quirks sparse ctx-size threads dtype chat-template parse-special visual trace json verbose \
        quiet no-color; do
        [[ $OUT == *"--$flag"* ]] || show "no --$flag"
    done
    [ "$(grep -c '^ *\(-., \)\?--' "$SCRATCH/out")" -gt "$common" ] || show "no more than --help"
}

@test "the examples of the help give what they promise" {
    for text in "$("$LACUNA" --help)" "$("$LACUNA" run --help)"; do
        example=$(sed -n '/^example/,$p' <<<"$text" | sed 1d)
        shown=$(cd "$LACUNA_TEST_ROOT" && PATH="${LACUNA%/*}:$PATH" sh -c "$example" 2>/dev/null)
        [ "${shown%%$'\n'*}" = 2718 ] || show "the first example says $shown"
    done
    [ "${shown##*$'\n'}" = "There was a little girl who lived with her mother." ] || show "$shown"
}

@test "a command with few flags shows all of them by either word" {
    lacuna inspect --help
    by_word=$OUT
    lacuna inspect --help-all
    expect_ok
    [ "$OUT" = "$by_word" ] || show "--help-all differs"
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

@test "one dash and several letters is a long name, a letter with its number, or switches" {
    lacuna run -m "$MODEL" -p x -n4 -vq --json
    expect_ok
    [ "$(json_value steps)" -eq 4 ] || show "expected 4 steps"
    for word in -foo -pHello -no-such -nx -qn -mfolder -tx2; do
        lacuna run -m "$MODEL" -p x "$word"
        expect_error 2 "'$word'"
    done
}

@test "flags of llama.cpp that mean nothing here are dropped, each with a line" {
    lacuna run -m "$MODEL" -p "The lamp" -n 4 -q --json
    ids=$(json_value ids)
    lacuna run -m "$MODEL" -b 2048 -p "The lamp" -ub 512 -n 4 -fa on --no-mmap --mlock --color \
        --no-warmup --simple-io -st --jinja -tb 4 -ctk f16 --numa=distribute -fa -q --json \
        --no-display-prompt --diffusion-add-gumbel-noise 0 --no-perf -ngl 0
    expect_ok
    [ "$(json_value ids)" = "$ids" ] || show "other ids than $ids"
    [ "$(grep -c 'has no effect' "$SCRATCH/err")" -eq 17 ] || show "expected 17 lines"
    for flag in -b -ub -fa --no-mmap --mlock --color --no-warmup --simple-io -st --jinja -tb -ctk \
        --numa --no-display-prompt --diffusion-add-gumbel-noise --no-perf; do
        [[ $ERR == *": $flag has no effect: "* ]] || show "nothing said to $flag"
    done
}

@test "flags of llama.cpp that would change the run are refused as they were typed" {
    lacuna run -hf some/model -p x
    expect_error 2 "-hf:" "-m"
    lacuna run -m "$MODEL" -p x -no-cnv
    expect_error 2 "-no-cnv:" "--chat-template none"
    for flag in -cnv --min-p --grammar --lora -hff --repeat-penalty -e -i -sp; do
        lacuna run -m "$MODEL" -p x "$flag" 1
        expect_error 2 "$flag:"
    done
    lacuna run -m "$MODEL" -p x --ubatch-size
    expect_error 2 "--ubatch-size needs a value"
    lacuna run -m "$MODEL" -p x --jinja=1
    expect_error 2 "--jinja takes no value"
    lacuna inspect -m "$MODEL" -ub 512
    expect_error 2 "'-ub'"
}

@test "the command line of llama.cpp's diffusion example runs" {
    for model in llada-gguf/model-f32.gguf dream-gguf/model-f16.gguf; do
        schedule="--diffusion-block-length 16"
        [[ $model == llada* ]] || schedule="--diffusion-eps 0.001"
        # shellcheck disable=SC2086 # words on purpose
        lacuna run -m "$LACUNA_TEST_ROOT/tests/golden/$model" -p Hello -n 32 -ub 512 -ngl 0 -c 0 \
            --diffusion-steps 32 --diffusion-algorithm 4 --diffusion-alg-temp 0 $schedule \
            --diffusion-cfg-scale 0 --diffusion-add-gumbel-noise 0 --temp 0.2 --top-k 40 --top-p 0.9 \
            --seed 42 --diffusion-visual --json
        expect_ok
        [ "$(json_value steps)" -ge 1 ] || show "no steps"
    done
}

# Every flag that takes a number, as the help has it.
numeric_flags() {
    "$LACUNA" "$1" --help-all | sed -n 's/^ *\(-., \)\?--\([a-z-]*\) \(N\|T\|P\|K\|H\|E\|S\|MS\|SHARE\)\( .*\)\?$/\2/p'
}

@test "no numeric flag of any command takes what is no number, or any number" {
    for command in run eval inspect; do
        flags=$(numeric_flags "$command")
        [ "$(wc -w <<<"$flags")" -ge 3 ] || show "no numeric flags: $flags"
        for flag in $flags; do
            for value in x 1e30; do
                lacuna "$command" "--$flag" "$value"
                expect_error 2 "--$flag:"
            done
        done
    done
}

# accepted FLAG VALUE: refused for want of memory alone, after everything else was checked.
accepted() {
    lacuna run -m "$MODEL" -p x -n 4 --max-memory 1 "$1" "$2"
    [ "$STATUS" -eq 4 ] || show "$1 $2 is not accepted"
}

@test "each number has one range: its ends are accepted, what lies outside is refused by the flag" {
    while read -r flag below least most above; do
        accepted "$flag" "$least"
        accepted "$flag" "$most"
        for value in "$below" "$above"; do
            lacuna run -m "$MODEL" -p x -n 4 --max-memory 1 "$flag" "$value"
            expect_error 2 "$flag: '$value'"
        done
    done <<'END'
--temp -0.001 0 100 100.001
--alg-temp -0.001 0 100 100.001
--cfg-scale -0.001 0 100 100.001
--eps -0.001 0 0.5 0.501
--entropy-bound -0.001 0 1000 1000.1
--top-p -0.001 0 1 1.001
--threshold -0.001 0 1 1.001
--top-k -1 0 16777216 16777217
--block-length 0 1 16777216 16777217
--ctx-size -1 0 16384 16777217
--visual-delay -1 0 60000 60001
--threads 0 1 1024 1025
--gpu-layers -1 0 0 1048577
END
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
