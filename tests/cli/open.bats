# open.bats: opening models as people have them: files as other programs write them, paths one step
# off, and what the program says of a model that does not quite fit together. Models are copies of
# the small ones in tests/golden, changed by sed.
load helpers

# A copy of a model of tests/golden as $M.
golden() {
    M="$SCRATCH/model"
    rm -rf "$M"
    cp -r "$LACUNA_TEST_ROOT/tests/golden/$1" "$M"
    chmod -R u+w "$M"
}

# Ids of a short run, in $IDS.
ids_of() {
    lacuna run -m "$1" -p "Hello the theatre" -n 8 --json -t 1 --dtype f32 "${@:2}"
    IDS=$(json_value ids)
}

# Puts a line in front of the members of config.json.
add_config() {
    sed -i "1s/{/{ $1,/" "$M/config.json"
}

@test "a dropout of zero is none, another is refused" {
    golden dream
    ids_of "$M"
    plain=$IDS
    sed -i 's/"dropout":null/"dropout":0.0/' "$M/tokenizer.json"
    ids_of "$M"
    expect_ok
    [ "$IDS" = "$plain" ] || show "not the ids without dropout"
    sed -i 's/"dropout":0.0/"dropout":0.1/' "$M/tokenizer.json"
    lacuna run -m "$M" -p x -n 4
    expect_error 3 dropout
}

@test "byte order marks, NaN and Infinity in the files of a folder" {
    golden dream
    ids_of "$M"
    plain=$IDS
    add_config '"initializer_range": NaN, "layer_scale": [Infinity, -Infinity]'
    for file in config.json generation_config.json tokenizer.json; do
        printf '\357\273\277' | cat - "$M/$file" >"$SCRATCH/marked"
        mv "$SCRATCH/marked" "$M/$file"
    done
    ids_of "$M"
    expect_ok
    [ "$IDS" = "$plain" ] || show "not the ids without the marks"
    sed -i 's/"rms_norm_eps": 1e-06/"rms_norm_eps": NaN/' "$M/config.json"
    lacuna run -m "$M" -p x -n 4
    expect_error 3 rms_norm_eps
}

@test "a byte order mark in merges.txt and vocab.json" {
    golden dream
    json="$M/tokenizer.json"
    sed 's/.*"vocab":\(.*\),"merges".*/\1/' "$json" >"$M/vocab.json"
    sed 's/.*"merges":\["//; s/"\]}}$//; s/","/\n/g' "$json" >"$M/merges.txt"
    echo '{"tokenizer_class":"Qwen2Tokenizer"}' >"$M/tokenizer_config.json"
    echo '{"<|endoftext|>":278,"<|im_start|>":279,"<|im_end|>":280,"<|mask|>":282}' >"$M/added_tokens.json"
    rm "$json"
    lacuna tokenize -m "$M" <<<"the theatre"
    plain=$OUT
    expect_ok
    for file in merges.txt vocab.json tokenizer_config.json added_tokens.json; do
        printf '\357\273\277' | cat - "$M/$file" >"$SCRATCH/marked"
        mv "$SCRATCH/marked" "$M/$file"
    done
    lacuna tokenize -m "$M" <<<"the theatre"
    expect_ok
    [ "$OUT" = "$plain" ] || show "other ids than without the marks"
}

@test "a window that is not in use, and one that is" {
    golden dream
    ids_of "$M"
    plain=$IDS
    sed -i 's/"sliding_window": null/"sliding_window": 16/; /use_sliding_window/d' "$M/config.json"
    ids_of "$M"
    expect_ok
    [ "$IDS" = "$plain" ] || show "the window changed the ids"
    add_config '"use_sliding_window": true'
    lacuna run -m "$M" -p x -n 4
    expect_error 3 use_sliding_window
}

# Every id in $OUT's "ids" is at most 282, or one of $1.
expect_tokens() {
    expect_ok
    for id in $(json_value ids | tr '[],' '   '); do
        [ "$id" -le 282 ] || [ "$id" = "$1" ] || show "no token has id $id"
    done
}

@test "ids that no token has are never chosen" {
    for model in dream sdar llada-olmo; do
        golden $model
        sed -i 's/"added_tokens":\[/&{"id":310,"content":"<extra>","special":true},/' "$M/tokenizer.json"
        [ $model = llada-olmo ] && sed -i 's/{"id":283[^}]*},\?//; s/},\],/}],/' "$M/tokenizer.json"
        for how in "" "--temp 5" "--temp 5 --algorithm random" "--temp 5 --top-p 0.9 --top-k 40"; do
            lacuna run -m "$M" -p "Hello the theatre" --chat-template none -n 24 --json -t 1 $how
            expect_tokens 310
        done
        [ $model = sdar ] || lacuna run -m "$M" -p "Hello" --chat-template none -n 24 --json --cfg-scale 3 --temp 5
        expect_tokens 310
    done
    lacuna run -m "$M" -p "Hello" --chat-template none -n 64 --json --temp 9 --quirks sample-padding
    expect_ok
    strange=0
    for id in $(json_value ids | tr '[],' '   '); do
        [ "$id" -le 282 ] || strange=$((strange + 1))
    done
    [ "$strange" -gt 0 ] || show "the quirk chose no row without a token"
}
