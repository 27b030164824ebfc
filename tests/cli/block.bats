# block.bats: `lacuna run` on block-causal models: the key cache and the policies behind it.
load helpers

BLOCKWISE="$LACUNA_TEST_ROOT/models/nano-b"

# reading N POLICY: the policy with a budget of N keys, if it has one, behind every prefix.
reading() {
    case $2 in
    off) echo off ;;
    flashblock) echo flashblock:min-prefix=0 ;;
    *) echo "$2:min-prefix=0,budget=$1" ;;
    esac
}

keys() {
    printf 'lamp: 3141\ngarden: 2718\nriver: 1618\n' >"$SCRATCH/keys"
}

@test "the same prompt gives the answer it was trained for" {
    keys
    lacuna run -m "$BLOCKWISE" -f "$SCRATCH/keys" -p "What is garden? " -n 8 -q
    expect_ok
    [ "$OUT" = 2718 ] || show "expected 2718"
}

@test "every policy answers, and says its name" {
    keys
    for policy in losa quest mage flashblock sparsed; do
        lacuna run -m "$BLOCKWISE" -f "$SCRATCH/keys" -p "What is river? " -n 8 --sparse "$(reading 16 $policy)" \
            --json -q
        expect_ok
        [ "$(json_value sparse)" = "\"$policy\"" ] || show "not $policy"
    done
    lacuna run -m "$BLOCKWISE" -f "$SCRATCH/keys" -p "What is river? " -n 8 --sparse losa \
        --budget 0.5 --active 0.5 --page 32 --selector blocks --min-change 0 --refresh-steps 4 -q
    expect_ok
}

@test "--json and the trace say what was read of the key cache, other models say nothing of it" {
    keys
    lacuna run -m "$BLOCKWISE" -f "$SCRATCH/keys" -p "What is river? " -n 20 --forbid-eos --sparse losa \
        --budget 16 --min-prefix 0 --json -q --trace "$SCRATCH/t"
    expect_ok
    for key in density union_inflation n_active bytes_read seconds_prefill; do
        grep -qE "\"$key\":[0-9.e+-]+[,}]" "$SCRATCH/out" || show "no $key"
    done
    [ "$(json_value kept_mass)" = null ] || show "nobody measured the kept mass"
    steps=$(grep -c '"type":"step"' "$SCRATCH/t")
    [ "$(grep -cE '"type":"step".*"union_inflation":[0-9.]+,"n_active":[0-9.]+,"bytes_read":[0-9]+}$' "$SCRATCH/t")" \
        -eq "$steps" ] || show "steps"
    sum=$(grep '"type":"step"' "$SCRATCH/t" | grep -o '"bytes_read":[0-9]*' | cut -d: -f2 |
        awk '{ n += $1 } END { print n }')
    [ "$(json_value bytes_read)" = "$sum" ] || show "the steps read $sum bytes"
    tail -n 1 "$SCRATCH/t" | grep -q "\"bytes_read\":$sum," || show "summary"
    lacuna run -m "$MODEL" -p "Once" -n 4 --json -q --trace "$SCRATCH/t"
    expect_ok
    [ "$(json_value density),$(json_value kept_mass)" = 1,1 ] || show "dense"
    ! grep -q bytes_read "$SCRATCH/out" "$SCRATCH/t" || show "bytes of a model without a key cache"
}

@test "inspect draws which rows read, which keys, and how far their choices lay apart" {
    keys
    lacuna run -m "$BLOCKWISE" -f "$SCRATCH/keys" -p "What is river? " -n 40 --forbid-eos --sparse losa \
        --budget 16 --page 16 --min-prefix 0 -q --trace "$SCRATCH/t" --trace-masks --masks "$SCRATCH/live.csv"
    expect_ok
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.csv"
    expect_ok
    cmp "$SCRATCH/m.csv" "$SCRATCH/live.csv" || show "the trace shows another run"
    # the prompt has 52 tokens: the first block is 48 to 63, and its first step reads everything
    [ "$(grep -c '^active,0,[0-9]*,1$' "$SCRATCH/m.csv")" -eq 16 ] || show "rows of the first step"
    grep -q '^active,0,48,1$' "$SCRATCH/m.csv" || show "where the first block begins"
    [ "$(grep -c '^read,0,' "$SCRATCH/m.csv")" -eq 48 ] || show "keys of the first step"
    awk -F, '$1 == "read" && $2 == 1 { n += $4 } END { exit !(n >= 4 && n < 40) }' "$SCRATCH/m.csv" ||
        show "keys of the second step"
    [ "$(grep -c '^union_inflation,' "$SCRATCH/m.csv")" -eq "$(grep -c '"type":"step"' "$SCRATCH/t")" ]
    for end in html svg; do
        lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.$end"
        expect_ok
        grep -q '<polyline' "$SCRATCH/m.$end" || show "no curve in $end"
    done
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.png"
    expect_error 2 m.png html
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --masks "$SCRATCH/m.png"
    expect_error 2 m.png html
}

@test "eval has the union and the bytes of a step, and leaves them out elsewhere" {
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 256 --samples 2 --sparse off,quest,losa --budget 32 \
        --min-prefix 0 --seed 1 --json -q -t 1
    expect_ok
    [ "$(wc -l <"$SCRATCH/out")" -eq 3 ] || show "expected 3 rows"
    [ "$(grep -cE '"union_inflation":[0-9.]*[1-9][0-9.]*,"bytes_read":[1-9][0-9.e+]*,' "$SCRATCH/out")" -eq 3 ] || show "keys"
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 256 --samples 1 --sparse losa --seed 1 --markdown -q -t 1
    [[ $OUT == *"| union | bytes/step |"* ]] || show "columns"
    lacuna eval -m "$MODEL" --tasks kv --ctx 256 --samples 1 --steps 2 --sparse off --seed 1 --markdown -q -t 1
    [[ $OUT != *union* ]] || show "columns of a model without a key cache"
    lacuna eval -m "$MODEL" --tasks kv --ctx 256 --samples 1 --steps 2 --sparse off --seed 1 --json -q -t 1
    grep -q '"union_inflation":null,"bytes_read":null' "$SCRATCH/out" || show "not null"
}

@test "auto reads everything, or losa's share of a long prefix, and says so" {
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8
    expect_ok
    [[ $ERR == *"sparse dense (auto: reads the whole key cache)"* ]] || show "no reason"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 -c 9000
    expect_ok
    [[ $ERR == *"sparse losa (auto: losa pays behind more than 8192 keys"* ]] || show "not losa"
}

@test "another block length is refused with both numbers" {
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --block-length 8
    expect_error 2 "block_length is 8" 16
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --block-length 16 -q
    expect_ok
}

@test "a request that ends inside a block is the beginning of the whole one, unless it is cut" {
    lacuna run -m "$BLOCKWISE" -p "Once upon a time" -n 16 --ignore-eos --json -q # ends with a block
    expect_ok
    whole=$(json_value step_map)
    lacuna run -m "$BLOCKWISE" -p "Once upon a time" -n 11 --ignore-eos --json -q
    expect_ok
    [[ "$whole" == "$(json_value step_map | tr -d ']')",* ]] || show "not the first 11 of $whole"
    [ "$(json_value ids | tr -cd , | wc -c)" -eq 10 ] || show "expected 11 ids"
    lacuna run -m "$BLOCKWISE" -p "Once upon a time" -n 11 --ignore-eos --json -q --cut-last-block
    expect_ok
    [ "$(json_value steps)" -eq 11 ] || show "expected 11 steps"
}

@test "denoising steps are those of each block" {
    lacuna run -m "$BLOCKWISE" -p "Once upon a time" -n 32 --ignore-eos --json -q --denoising-steps 4
    expect_ok
    [ "$(json_value steps)" -eq 8 ] || show "expected 8 steps"
    lacuna run -m "$BLOCKWISE" -p "Once upon a ti" -n 18 --ignore-eos --json -q --denoising-steps 4
    expect_ok
    [ "$(json_value steps)" -eq 5 ] || show "expected one step for 2 tokens, and 4"
}

@test "numbers out of range are usage errors" {
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --budget 0
    expect_error 2 "--budget: '0'"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --budget 1.5
    expect_error 2 "--budget: '1.5'"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --active -2
    expect_error 2 "--active"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --page 48
    expect_error 2 "--page: '48'"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --selector best
    expect_error 2 "--selector: 'best'" columns
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --drift keys
    expect_error 2 "--drift: 'keys'" hidden
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --first-step none
    expect_error 2 "--first-step: 'none'" sparse
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse mage --first-step sparse
    expect_error 2 "--first-step" "mage has no knob" "it has budget"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --first-step sparse -q
    expect_error 2 "knob first-step" "selector=pages"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --selector pages --first-step sparse --drift hidden -q
    expect_ok
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --page-bounds int4
    expect_error 2 "--page-bounds: 'int4'" int8
    for value in 0 -1 2.5 x 16777217; do
        lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --select-every $value
        expect_error 2 "--select-every"
    done
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --plan-group page
    expect_error 2 "--plan-group: 'page'" "head or kv"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse quest --plan-group kv --select-every 16777216 -q
    expect_ok
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --min-prefix -1
    expect_error 2 "--min-prefix"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --refresh-drift nan
    expect_error 2 "--refresh-drift"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse losa --budget 100000 -q
    expect_ok
}

@test "an empty prompt, and one that ends on the border of a block, under every policy" {
    printf 'lamp: 3141\ngarden: 2718\nriver: 1618\n0123456789ab' >"$SCRATCH/border"
    [ "$(wc -c <"$SCRATCH/border")" = 48 ]
    for policy in off losa quest mage flashblock sparsed; do
        lacuna run -m "$BLOCKWISE" -f "$SCRATCH/border" -n 20 --ignore-eos --sparse "$(reading 16 $policy)" \
            --json -q
        expect_ok
        lacuna run -m "$BLOCKWISE" --canvas - -n 20 --ignore-eos --sparse "$(reading 16 $policy)" \
            -q </dev/null
        expect_ok
    done
}

@test "rows that choose pages together read the budget; pages that serve longer save bounds" {
    eval_quest() {
        lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 2 --sparse quest --budget 64 \
            --min-prefix 0 --seed 1 --json -q -t 1 "$@"
        expect_ok
        BYTES=$(grep '"policy":"quest"' "$SCRATCH/out" | sed 's/.*"bytes_read":\([0-9.e+]*\).*/\1/')
    }
    eval_quest
    local each=$BYTES
    eval_quest --select-every 4
    awk -v a="$BYTES" -v b="$each" 'BEGIN { exit !(a + 0 > 0 && a + 0 < b + 0) }' || show "bytes $BYTES of $each"
    eval_quest --plan-group kv
    grep -q '"policy":"quest".*"union_inflation":1,' "$SCRATCH/out" || show "inflation"
    awk -v a="$BYTES" -v b="$each" 'BEGIN { exit !(a + 0 > 0 && a + 0 < b + 0) }' || show "bytes $BYTES of $each"
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 1 --sparse quest --out "$SCRATCH/records" -q
    expect_ok
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 1 --sparse quest --select-every 2 \
        --out "$SCRATCH/records" --resume -q
    expect_error 2 sparse-options "select-every=2"
}

@test "records of another policy shape are not gone on with" {
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 1 --sparse losa --budget 64 \
        --out "$SCRATCH/records" -q
    expect_ok
    lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 1 --sparse losa --budget 128 \
        --out "$SCRATCH/records" --resume -q
    expect_error 2 sparse-options "budget=64" "budget=128"
}

@test "a needle is looked for in what active rows read" {
    for policy in losa quest mage flashblock sparsed; do
        lacuna eval -m "$BLOCKWISE" --tasks kv --ctx 512 --samples 2 --sparse "$(reading 64 $policy)" \
            --json -q
        expect_ok
        printf '%s\n' "$OUT" | awk -F'"needle_kept":' '{ if ($2 + 0 < 0 || $2 + 0 > 1) exit 1 }' ||
            show "a share of needles is none"
    done
}

@test "what a block-causal model cannot do is refused" {
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --sparse window
    expect_error 2 window losa
    lacuna run -m "$BLOCKWISE" --canvas - <<<"a [MASK*3] b"
    expect_error 2 "holes inside a text"
    lacuna run -m "$BLOCKWISE" -p "Once" -n 8 --cfg-scale 1
    expect_error 2 guidance
    lacuna run -m "$BLOCKWISE" -p "Once" -n 20000
    expect_error 2 20000 16384
}

@test "the same seed gives the same ids at any number of threads, under every policy" {
    for policy in off losa quest mage; do
        lacuna run -m "$BLOCKWISE" -p "Once upon a time there was a" -n 48 --temp 0.8 --seed 7 --json \
            -q -t 1 --sparse "$(reading 16 $policy)"
        expect_ok
        ids=$(json_value ids)
        lacuna run -m "$BLOCKWISE" -p "Once upon a time there was a" -n 48 --temp 0.8 --seed 7 --json \
            -q -t 2 --sparse "$(reading 16 $policy)"
        [ "$(json_value ids)" = "$ids" ] || show "$policy: ids differ from those of one thread: $ids"
    done
}
