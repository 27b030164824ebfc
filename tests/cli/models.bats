# models.bats: model cards, and models that are missing, damaged or unknown. Damage is done to a
# copy of the model in the repository.
load helpers

# Every command must refuse the model in $1 with status 3 and one line that contains $2.
expect_refused() {
    lacuna run -m "$1" -p x -n 4
    expect_error 3 "${@:2}"
    lacuna inspect -m "$1"
    expect_error 3
}

@test "the card and the memory plan as a table" {
    lacuna inspect -m "$MODEL" -c 2048
    expect_ok
    for words in architecture parameters "873856" context 16384 "memory: total" MiB; do
        [[ $OUT == *"$words"* ]] || show "no $words"
    done
}

@test "the card as JSON" {
    lacuna inspect -m "$MODEL" -c 2048 -t 1 --json
    expect_ok
    [ "$(json_keys)" = "architecture name container weight_types file_bytes n_params n_layers d_model n_heads n_kv_heads d_head d_ff n_vocab n_tokens tokenizer chat_template attention_mask block_size shift_logits context context_trained rope_base rope_scaling mask_id eos_id bos_id pad_id dtype n_ctx n_threads bytes_weights bytes_kv bytes_workspace bytes_runtime bytes_total" ] ||
        show "members: $(json_keys)"
    [ "$(json_value n_params)" -eq 873856 ] || show "n_params"
    [ "$(json_value n_layers)" -eq 4 ] || show "n_layers"
    [ "$(json_value mask_id)" -eq 256 ] || show "mask_id"
    [ "$(json_value n_ctx)" -eq 2048 ] || show "n_ctx"
    total=$(json_value bytes_total)
    sum=$(($(json_value bytes_weights) + $(json_value bytes_kv) + $(json_value bytes_workspace) + $(json_value bytes_runtime)))
    [ "$total" -eq "$sum" ] || show "bytes_total is not the sum, $sum"
    lacuna inspect -m "$MODEL" -c 16384 -t 1 --json
    [ "$(json_value bytes_total)" -gt "$total" ] || show "a longer context takes no more memory"
}

@test "a folder without weights has the card and the memory plan of its config.json" {
    for name in dream llada-olmo sdar fast-dllm; do
        rm -rf "$SCRATCH/model"
        cp -r "$LACUNA_TEST_ROOT/tests/golden/$name" "$SCRATCH/model"
        chmod -R u+w "$SCRATCH/model"
        rm "$SCRATCH"/model/*.safetensors*
        lacuna inspect -m "$LACUNA_TEST_ROOT/tests/golden/$name" -t 1 --json
        card=$OUT
        lacuna inspect -m "$SCRATCH/model" -t 1 --json
        expect_ok
        [[ $ERR == *"$SCRATCH/model has no weights"* ]] || show "nothing said"
        [ "$(json_value weight_types)" = '""' ] || show "weight_types"
        [ "$(json_value file_bytes)" -eq 0 ] || show "file_bytes"
        for member in n_params n_layers n_tokens bytes_weights bytes_kv bytes_workspace; do
            value=$(json_value $member)
            [ "$(OUT=$card json_value $member)" = "$value" ] || show "$member of $name is $value"
        done
        lacuna run -m "$SCRATCH/model" -p x -n 4
        expect_error 3 "$SCRATCH/model" safetensors
    done
    rm -f "$SCRATCH"/model/tokenizer* "$SCRATCH"/model/vocab*
    lacuna inspect -m "$SCRATCH/model" -t 1
    expect_ok
    echo '{' >"$SCRATCH/model/config.json"
    expect_refused "$SCRATCH/model" config.json
}

@test "a context beyond the model's is planned, with a warning" {
    lacuna inspect -m "$MODEL" -c 20000
    expect_ok
    [[ $ERR == *20000*16384* ]] || show "no warning with both numbers"
    lacuna inspect -m "$MODEL" -c 16384
    [ -z "$ERR" ] || show "a warning at the model's own context"
}

@test "no such path" {
    expect_refused "$SCRATCH/absent" "$SCRATCH/absent"
}

@test "a folder without config.json" {
    mkdir "$SCRATCH/empty"
    expect_refused "$SCRATCH/empty" config.json
}

@test "a file that is no model" {
    echo "not a model" >"$SCRATCH/file.gguf"
    expect_refused "$SCRATCH/file.gguf"
}

@test "config.json that is not JSON" {
    copy_model
    echo '{"hidden_size": 128,' >"$SCRATCH/model/config.json"
    expect_refused "$SCRATCH/model" config.json
}

@test "unknown architecture" {
    copy_model
    sed -i 's/LacunaForMaskedDiffusion/FooForNothing/; s/"model_type": "lacuna"/"model_type": "foo"/' "$SCRATCH/model/config.json"
    expect_refused "$SCRATCH/model" FooForNothing
}

@test "absurd numbers in config.json" {
    for change in 's/"hidden_size": 128/"hidden_size": -128/' \
        's/"num_hidden_layers": 4/"num_hidden_layers": 2000000000/' \
        's/"vocab_size": 272/"vocab_size": 1e30/' \
        's/"num_attention_heads": 4/"num_attention_heads": 0/' \
        's/"rope_theta": 100000.0/"rope_theta": "big"/'; do
        rm -rf "$SCRATCH/model"
        copy_model
        sed -i "$change" "$SCRATCH/model/config.json"
        expect_refused "$SCRATCH/model"
    done
}

@test "truncated weights" {
    copy_model
    for size in 0 4 100 1000000 3500359; do
        dd if="$MODEL/model.safetensors" of="$SCRATCH/model/model.safetensors" bs="$size" count=1 \
            status=none 2>/dev/null || : >"$SCRATCH/model/model.safetensors"
        lacuna run -m "$SCRATCH/model" -p x -n 4
        expect_error 3 model.safetensors
    done
}

@test "a truncated and a missing shard" {
    cp -r "$LACUNA_TEST_ROOT/tests/golden/llada-llama" "$SCRATCH/model"
    chmod -R u+w "$SCRATCH/model"
    lacuna run -m "$SCRATCH/model" -p x -n 4 -q
    expect_ok
    shard="$SCRATCH/model/model-00002-of-00002.safetensors"
    size=$(wc -c <"$shard")
    dd if="$shard" of="$SCRATCH/cut" bs=$((size - 1)) count=1 status=none
    mv "$SCRATCH/cut" "$shard"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3 model-00002-of-00002.safetensors
    rm "$shard"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3 model-00002-of-00002.safetensors
}

@test "missing weights" {
    copy_model
    rm "$SCRATCH/model/model.safetensors"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3 safetensors
}

@test "a tensor of the wrong type" {
    copy_model
    LC_ALL=C sed -i '1s/"dtype":"F32"/"dtype":"I32"/' "$SCRATCH/model/model.safetensors"
    LC_ALL=C sed -i '1s/"dtype": "F32"/"dtype": "I32"/' "$SCRATCH/model/model.safetensors"
    ! cmp -s "$MODEL/model.safetensors" "$SCRATCH/model/model.safetensors" || show "nothing changed"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3
}

@test "a header length beyond the file" {
    copy_model
    printf '\377\377\377\377\377\377\377\177' |
        dd of="$SCRATCH/model/model.safetensors" bs=1 conv=notrunc status=none
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3 model.safetensors
}

@test "weights that do not have the shape of config.json" {
    copy_model
    sed -i 's/"intermediate_size": 352/"intermediate_size": 360/' "$SCRATCH/model/config.json"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    expect_error 3 352 360
}

@test "escape sequences in a model never reach the terminal raw" {
    copy_model
    sed -i 's/LacunaForMaskedDiffusion/Evil\\u001b[31mModel/; s/"model_type": "lacuna"/"model_type": "evil\\u001b[2J"/' "$SCRATCH/model/config.json"
    lacuna run -m "$SCRATCH/model" -p x -n 4
    [ "$STATUS" -eq 3 ] || show "expected status 3"
    ! grep -q "$(printf '\033')" "$SCRATCH/err" || show "a raw escape in a message"
}
