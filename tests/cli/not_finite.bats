#!/usr/bin/env bats
# not_finite.bats: a NaN or an infinity among the weights: `run` ends with status 1 and names step,
# position and layer; `eval` counts such a run as failed, also when it is resumed.

load helpers

# damage TENSOR ELEMENT BYTES: four bytes of a copy of the model, as printf writes them.
damage() {
    local file="$SCRATCH/model/model.safetensors" n begin
    copy_model
    n=$(od -An -t u8 -N 8 "$file" | tr -d ' ')
    begin=$(dd if="$file" bs=1 skip=8 count="$n" 2>/dev/null |
        sed -n "s/.*\"$1\":{[^}]*\"data_offsets\":\[\([0-9]*\),.*/\1/p")
    [ -n "$begin" ]
    # shellcheck disable=SC2059 # the bytes are octal escapes
    printf "$3" | dd of="$file" bs=1 seek=$((8 + n + begin + 4 * $2)) conv=notrunc 2>/dev/null
}
NAN='\000\000\300\177'
INF='\000\000\200\177'

@test "run names step, position and layer of a NaN, and prints no text" {
    damage model.layers.2.mlp.down_proj.weight 100 "$NAN"
    lacuna run -m "$SCRATCH/model" -p hello -n 8
    expect_error 1 "position 5" "step 0" "layer 2 of 0 to 3"
    lacuna run -m "$SCRATCH/model" -p hello -n 8 --json --dtype bf16 --temp 0.7 --top-k 5
    expect_error 1 "layer 2 of 0 to 3"
}

@test "an infinity in one row of the output matrix is found" {
    damage lm_head.weight $((66 * 128)) "$INF"
    lacuna run -m "$SCRATCH/model" -p hello -n 8
    expect_error 1 "output matrix"
}

@test "what failed is not drawn and leaves no trace" {
    damage model.layers.0.mlp.up_proj.weight 3 "$INF"
    lacuna run -m "$SCRATCH/model" -p hello -n 8 --masks "$SCRATCH/m.csv"
    expect_error 1 "layer 0 of 0 to 3"
    [ ! -e "$SCRATCH/m.csv" ]
}

@test "eval counts runs that are not finite as failed, and so does resuming" {
    damage model.layers.1.mlp.gate_proj.weight 7 "$NAN"
    lacuna eval -m "$SCRATCH/model" --tasks kv --ctx 96 --samples 2 --sparse dense,window \
        --out "$SCRATCH/runs.jsonl" --quiet
    [ "$STATUS" -eq 1 ] || show "expected status 1"
    case $ERR in *"layer 1 of 0 to 3"*"4 of 4 runs failed"*) ;; *) show "no word of it" ;; esac
    [ "$(grep -c '"failed":true' "$SCRATCH/runs.jsonl")" -eq 4 ]
    # neither a score nor an agreement
    [ "$(grep -c '"score":0,"exact":0,"agree":0,"kl":null' "$SCRATCH/runs.jsonl")" -eq 4 ]
    lacuna eval -m "$SCRATCH/model" --tasks kv --ctx 96 --samples 2 --sparse dense,window \
        --out "$SCRATCH/runs.jsonl" --resume --quiet
    [ "$STATUS" -eq 1 ] || show "expected status 1"
    case $ERR in *"4 of 4 runs failed"*) ;; *) show "no word of it" ;; esac
}
