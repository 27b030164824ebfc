# tokenize.bats: ids and text, there and back.
load helpers

@test "text to ids" {
    lacuna tokenize -m "$MODEL" < <(printf 'abc')
    expect_ok
    [ "$OUT" = "97 98 99" ] || show "ids"
    lacuna tokenize -m "$MODEL" --json < <(printf 'abc')
    [ "$OUT" = '{"ids":[97,98,99]}' ] || show "json"
    lacuna tokenize -m "$MODEL" --json </dev/null
    [ "$OUT" = '{"ids":[]}' ] || show "empty input"
}

@test "ids to text, in each form of writing them" {
    for ids in '97 98 99' $'97\n98\t99' '97,98,99' '[97, 98, 99]' '{"ids":[97,98,99]}'; do
        lacuna tokenize -m "$MODEL" --decode < <(printf '%s' "$ids")
        expect_ok
        [ "$OUT" = abc ] || show "decoding $ids"
    done
    lacuna tokenize -m "$MODEL" --decode --json <<<"97 34 10 92"
    [ "$OUT" = '{"text":"a\"\n\\"}' ] || show "json"
}

@test "round trip of a text with several scripts and control characters" {
    printf 'caf\303\251 \346\227\245\346\234\254\t\033[31m\n\360\237\231\202 end' >"$SCRATCH/text"
    "$LACUNA" tokenize -m "$MODEL" <"$SCRATCH/text" >"$SCRATCH/ids"
    "$LACUNA" tokenize -m "$MODEL" --decode <"$SCRATCH/ids" | cmp - "$SCRATCH/text"
    "$LACUNA" tokenize -m "$MODEL" --json <"$SCRATCH/text" >"$SCRATCH/ids"
    "$LACUNA" tokenize -m "$MODEL" --decode <"$SCRATCH/ids" | cmp - "$SCRATCH/text"
}

@test "pieces" {
    lacuna tokenize -m "$MODEL" --pieces < <(printf 'a\n')
    [ "$OUT" = $'97\ta\n10\t\\n' ] || show "pieces"
    lacuna tokenize -m "$MODEL" --pieces --json < <(printf 'ab')
    [ "$OUT" = '{"ids":[97,98],"pieces":["a","b"]}' ] || show "json pieces"
    lacuna tokenize -m "$MODEL" --pieces --decode </dev/null
    expect_error 2 "--decode" "--pieces"
}

@test "special tokens are text unless asked" {
    lacuna tokenize -m "$MODEL" < <(printf '<|eos|>')
    [ "$(wc -w <"$SCRATCH/out")" -eq 7 ] || show "expected 7 ids"
    lacuna tokenize -m "$MODEL" --parse-special < <(printf '<|eos|>')
    [ "$OUT" = 257 ] || show "expected 257"
    lacuna tokenize -m "$MODEL" --decode <<<"97 257"
    [ "$OUT" = 'a<|eos|>' ] || show "expected the name of the token"
}

@test "bad ids are named" {
    for ids in '97 9999' '[97, 9999]' '{"ids":[97,9999]}'; do
        lacuna tokenize -m "$MODEL" --decode <<<"$ids"
        expect_error 2 "id 1 " "9999" "271"
    done
    lacuna tokenize -m "$MODEL" --decode <<<"97 x8"
    expect_error 2 "x8"
    lacuna tokenize -m "$MODEL" --decode <<<"-1"
    expect_error 2 "'-1'"
    lacuna tokenize -m "$MODEL" --decode <<<'[97, 1.5]'
    expect_error 2 "id 1 "
    lacuna tokenize -m "$MODEL" --decode <<<'[97, "x"]'
    expect_error 2 "id 1 "
    lacuna tokenize -m "$MODEL" --decode <<<'[97,'
    [ "$STATUS" -eq 2 ] || show "expected status 2"
    lacuna tokenize -m "$MODEL" --decode <<<'{"id":[97]}'
    expect_error 2 '"ids"'
}

@test "no model" {
    lacuna tokenize </dev/null
    expect_error 2 "no model"
}

@test "a folder with a tokenizer needs neither config.json nor weights" {
    golden="$LACUNA_TEST_ROOT/tests/golden"
    lacuna tokenize -m "$golden/dream" --json <<<"hello there"
    ids=$OUT
    mkdir "$SCRATCH/only"
    cp "$golden"/dream/tokenizer*.json "$SCRATCH/only"
    lacuna tokenize -m "$SCRATCH/only" --json <<<"hello there"
    expect_ok
    [ "$OUT" = "$ids" ] || show "expected $ids"
    "$LACUNA" tokenize -m "$SCRATCH/only" <<<"hello there" >"$SCRATCH/ids"
    lacuna tokenize -m "$SCRATCH/only" --decode <"$SCRATCH/ids"
    [ "$OUT" = "hello there" ] || show "decoding"
    lacuna tokenize -m "$SCRATCH/only" --decode <<<"1 999999"
    expect_error 2 "id 1 " "999999"
    lacuna inspect -m "$SCRATCH/only"
    expect_error 3 "$SCRATCH/only has no config.json"
    lacuna run -m "$SCRATCH/only" -p x
    expect_error 3 "$SCRATCH/only has no config.json"
}

@test "a folder without a tokenizer is said to have none" {
    copy_model
    rm "$SCRATCH"/model/*.safetensors
    lacuna tokenize -m "$SCRATCH/model" < <(printf abc)
    expect_ok
    [ "$OUT" = "97 98 99" ] || show "bytes are in no file"
    cp -r "$LACUNA_TEST_ROOT/tests/golden/dream" "$SCRATCH/dream"
    chmod -R u+w "$SCRATCH/dream"
    rm "$SCRATCH"/dream/tokenizer* "$SCRATCH"/dream/vocab* || true
    lacuna tokenize -m "$SCRATCH/dream" <<<abc
    expect_error 3 "$SCRATCH/dream" "tokenizer.json"
    lacuna run -m "$SCRATCH/dream" -p x
    [ "$STATUS" -eq 3 ] || show "expected status 3"
    mkdir "$SCRATCH/empty"
    lacuna tokenize -m "$SCRATCH/empty" <<<abc
    expect_error 3 "$SCRATCH/empty" "config.json"
}
