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

# Refused with status 3 and one line that has these words; by inspect too.
expect_refused() {
    lacuna run -m "$1" -p x -n 4
    expect_error 3 "${@:2}"
    lacuna inspect -m "$1"
    expect_error 3 "${@:2}"
}

@test "files that are not what their names say are named for what they are" {
    golden llada-llama
    cp -r "$M" "$SCRATCH/good"
    pointer=$'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4976698672\n'
    for file in config.json tokenizer.json model.safetensors.index.json model-00002-of-00002.safetensors; do
        for text in "$pointer" "<!DOCTYPE html><html></html>" ""; do
            printf %s "$text" >"$M/$file"
            word="an empty file"
            case $text in vers*) word="Git LFS pointer" ;; "<"*) word="HTML page" ;; esac
            expect_refused "$M" "$file" "$word"
        done
        cp "$SCRATCH/good/$file" "$M/$file"
    done
    lacuna inspect -m "$M"
    expect_ok
    printf '%s' "$pointer" >"$SCRATCH/x.gguf"
    expect_refused "$SCRATCH/x.gguf" x.gguf "Git LFS pointer"
    printf 'PK\003\004' >"$M/model-00001-of-00002.safetensors"
    expect_refused "$M" model-00001-of-00002.safetensors zip
}

@test "links that lead nowhere say where they lead" {
    golden dream
    for file in config.json generation_config.json tokenizer.json model.safetensors chat_template.jinja; do
        golden dream
        ln -sf ../blobs/gone "$M/$file"
        expect_refused "$M" "$file" "link to ../blobs/gone"
    done
    ln -s gone.gguf "$SCRATCH/link.gguf"
    expect_refused "$SCRATCH/link.gguf" "link to gone.gguf"
}

@test "weights of another kind and missing shards are named" {
    golden dream
    mv "$M/model.safetensors" "$M/weights.safetensors"
    expect_refused "$M" weights.safetensors
    rm "$M/weights.safetensors"
    : >"$M/pytorch_model.bin"
    expect_refused "$M" pytorch_model.bin convert
    rm "$M/pytorch_model.bin"
    lacuna run -m "$M" -p x -n 4
    expect_error 3 "$M" model.safetensors.index.json
    golden llada-llama
    rm "$M/model.safetensors.index.json"
    expect_refused "$M" model-00001-of-00002.safetensors index
}

@test "a file of a model folder is not the model" {
    for file in model.safetensors config.json tokenizer.json; do
        expect_refused "$LACUNA_TEST_ROOT/tests/golden/dream/$file" folder "tests/golden/dream"
    done
}

@test "a folder with one GGUF file is that file" {
    gguf="$LACUNA_TEST_ROOT/tests/golden/dream-gguf/model-f16.gguf"
    ids_of "$gguf"
    plain=$IDS
    mkdir "$SCRATCH/one"
    cp "$gguf" "$SCRATCH/one/b.gguf"
    echo '{"model_type": "something else"}' >"$SCRATCH/one/config.json"
    ids_of "$SCRATCH/one"
    expect_ok
    [ "$IDS" = "$plain" ] || show "not the ids of the file"
    cp "$gguf" "$SCRATCH/one/a.gguf"
    expect_refused "$SCRATCH/one" "2 GGUF files" a.gguf b.gguf
}

@test "a cache folder is its snapshot" {
    golden dream
    ids_of "$M"
    plain=$IDS
    cache="$SCRATCH/models--org--name"
    mkdir -p "$cache/refs" "$cache/snapshots" "$cache/blobs"
    expect_refused "$cache" snapshot
    cp -r "$M" "$cache/snapshots/0a1b"
    ids_of "$cache"
    expect_ok
    [ "$IDS" = "$plain" ] || show "not the ids of the snapshot"
    mkdir "$cache/snapshots/ffff"
    expect_refused "$cache" "2 snapshots" 0a1b ffff
    printf 0a1b >"$cache/refs/main"
    ids_of "$cache"
    expect_ok
    [ "$IDS" = "$plain" ] || show "not the ids of the main snapshot"
    expect_refused "$cache/snapshots" 0a1b
}

@test "a folder one step above, an adapter, an empty folder" {
    mkdir -p "$SCRATCH/above" "$SCRATCH/adapter" "$SCRATCH/empty"
    cp -r "$LACUNA_TEST_ROOT/tests/golden/dream" "$SCRATCH/above/dream"
    expect_refused "$SCRATCH/above" "folder dream"
    echo '{}' >"$SCRATCH/adapter/adapter_config.json"
    expect_refused "$SCRATCH/adapter" adapter
    expect_refused "$SCRATCH/empty" config.json
}

# The template of a run of the model, in $TEMPLATE; its warnings are in $ERR.
template_of() {
    lacuna run -m "$M" -p Hi -n 4 -t 1 --trace "$SCRATCH/t.jsonl" "$@"
    expect_ok
    TEMPLATE=$(sed -n '1s/.*"chat_template":"\([^"]*\)".*/\1/p' "$SCRATCH/t.jsonl")
}

@test "a chat template that the files do not have is not invented" {
    for model in dream llada-olmo sdar fast-dllm; do
        golden $model
        template_of
        [ "$TEMPLATE" = "$(json_template $model)" ] || show "without a file that could tell: $TEMPLATE"
        [[ $ERR != *warning* ]] || show "a warning without a file that could tell"
        echo '{"tokenizer_class":"Qwen2Tokenizer","chat_template":null}' >"$M/tokenizer_config.json"
        template_of
        [ "$TEMPLATE" = none ] || show "template $TEMPLATE"
        [ "$(grep -c "warning.*no chat template" <<<"$ERR")" -eq 1 ] || show "not one warning"
        template_of --chat-template "$(json_template $model)"
        [ "$TEMPLATE" = "$(json_template $model)" ] || show "not the template asked for"
        [[ $ERR != *warning* ]] || show "a warning though a template was named"
        lacuna run -m "$M" --canvas - <<<"a [MASK*2] b"
        [[ $ERR != *warning* ]] || show "a warning without a message"
    done
}

json_template() {
    case $1 in llada-olmo) echo llada ;; *) echo "$1" ;; esac
}

@test "a chat template that is not the built-in one is said" {
    other='{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}'
    golden dream
    echo "{\"chat_template\":\"$other\"}" >"$M/tokenizer_config.json"
    template_of
    [[ $TEMPLATE = dream && $ERR == *warning*"chat template"*dream* ]] || show "template $TEMPLATE"
    golden dream
    printf '%s' "$other" >"$M/chat_template.jinja"
    template_of
    [[ $ERR == *warning*"chat template"* ]] || show "nothing said of chat_template.jinja"
    golden dream
    chatml="{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}"
    echo "{\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"x\"},{\"name\":\"default\",\"template\":\"$chatml\"}]}" \
        >"$M/chat_template.json"
    template_of
    [[ $TEMPLATE = chatml && $ERR != *warning* ]] || show "template $TEMPLATE of a list"
    golden dream
    echo '{"chat_template":"You are a helpful assistant. <|im_start|> <|im_end|>"}' >"$M/tokenizer_config.json"
    template_of
    [[ $TEMPLATE = dream && $ERR != *warning* ]] || show "Dream's own template: $TEMPLATE"
}

@test "a mask id that is another token is said, and --mask-id sets it" {
    golden sdar
    ids_of "$M"
    plain=$IDS
    sed -i 's/"mask_token_id": 281/"mask_token_id": 66/' "$M/config.json"
    lacuna run -m "$M" -p Hi -n 4
    expect_ok
    [[ $ERR == *'warning: the mask token id is 66 ("c")'*'"<|mask|>", id 281'* ]] || show "no warning"
    lacuna inspect -m "$M"
    [[ $ERR == *"66"* ]] || show "no warning of inspect"
    ids_of "$M" --mask-id 281
    [ "$IDS" = "$plain" ] || show "not the ids with the right mask"
    [[ $ERR != *warning* ]] || show "a warning with the right mask"
    lacuna run -m "$M" -p Hi -n 4 --mask-id 320
    expect_error 3 320
    sed -i 's/"content":"<|mask|>"/"content":"<other>"/' "$M/tokenizer.json"
    lacuna inspect -m "$M"
    [[ $ERR == *'66, which the tokenizer has as the ordinary token "c"'* ]] || show "no warning"
}

@test "a tied model with a head of its own" {
    golden llada-llama
    ids_of "$M"
    untied=$IDS
    sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' "$M/config.json"
    ids_of "$M"
    expect_ok
    [ "$IDS" = "$untied" ] || show "the head of the file is not used"
    [ "$(grep -c "warning.*lm_head" <<<"$ERR")" -eq 1 ] || show "not one warning"
}

@test "scaling of positions, from the files and from flags" {
    golden dream
    ids_of "$M"
    plain=$IDS
    ids_of "$M" --rope-scaling linear --rope-scale 4
    scaled=$IDS
    [ "$scaled" != "$plain" ] || show "a scale of 4 changed nothing"
    ids_of "$M" --rope-freq-scale 0.25
    [ "$IDS" = "$scaled" ] || show "--rope-freq-scale 0.25 is not --rope-scale 4"
    sed -i 's/"rope_scaling": null/"rope_scaling": {"type": "linear", "factor": 4.0}/' "$M/config.json"
    ids_of "$M"
    [ "$IDS" = "$scaled" ] || show "the file's scale is not that of the flag"
    lacuna inspect -m "$M" --json
    [ "$(json_value rope_scaling)" = '"linear 4"' ] || show "inspect: $(json_value rope_scaling)"
    ids_of "$M" --rope-scaling none
    [ "$IDS" = "$plain" ] || show "--rope-scaling none is not without scaling"
    sed -i 's/"type": "linear"/"type": "dynamic"/' "$M/config.json"
    expect_refused "$M" dynamic "factor 4"
    ids_of "$M" --rope-scaling none --rope-freq-base 1000000
    [ "$IDS" = "$plain" ] || show "a flag does not replace what is not implemented"
    lacuna run -m "$M" -p x --rope-scaling yarn
    expect_error 2 --rope-scaling yarn
    lacuna run -m "$M" -p x --rope-scaling linear
    expect_error 2 --rope-scale
    lacuna run -m "$M" -p x --rope-scale 0
    expect_error 2 --rope-scale
    lacuna run -m "$M" -p x --rope-freq-base nan
    expect_error 2 --rope-freq-base
    lacuna run -m "$M" -p x --rope-scaling none --rope-scale 2
    expect_error 2 --rope-scaling --rope-scale
}
