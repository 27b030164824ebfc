# eval.bats: `lacuna eval` on a few samples: rows, comparison with dense, files in and out, taking
# a run up again, and what is said to command lines that make no sense.
load helpers

KEYS="task ctx policy samples score exact agree kl kept_mass density ms_per_step"
QUICK="-m $MODEL -t 1 -q --ctx 256 --steps 2 --seed 1"

# Value of a key in row N, counted from 1.
row_value() { # N KEY
    sed -n "$1p" "$SCRATCH/out" | sed -n "s/.*\"$2\":\(\"[^\"]*\"\|[^,}]*\).*/\1/p"
}

is_between() { # LOW VALUE HIGH
    awk -v low="$1" -v value="$2" -v high="$3" \
        'BEGIN { exit !(value != "" && value != "null" && value + 0 >= low + 0 && value + 0 <= high + 0) }'
}

# Rows without what a clock measured.
rows_without_time() {
    sed 's/"ms_per_step":[^,]*,//' "$SCRATCH/out"
}

@test "eval: help explains tasks, policies and output" {
    lacuna eval --help
    expect_ok
    [[ $OUT == "usage: lacuna eval"*"--tasks"*"--sparse"*"--resume"*"example:"* ]] || show "no flags"
    [ "$(wc -L <"$SCRATCH/out")" -le 100 ] || show "a line is too long"
}

@test "eval: a row per task, length and policy, dense first" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna eval $QUICK --ctx 256,300 --tasks kv,niah --samples 3 --sparse sparsed,off,window --json
    expect_ok
    [ -z "$ERR" ] || show "quiet is quiet"
    [ "$(wc -l <"$SCRATCH/out")" -eq 12 ] || show "expected 12 rows"
    while read -r line; do
        keys=$(printf '%s' "$line" | grep -o '"[a-z0-9_]*":' | tr -d '":' | head -n 11 | tr '\n' ' ')
        [ "$keys" = "$KEYS " ] || show "keys of a row: $keys"
    done <"$SCRATCH/out"
    [ "$(row_value 1 policy) $(row_value 2 policy) $(row_value 3 policy)" = '"off" "sparsed" "window"' ]
    [ "$(row_value 1 task) $(row_value 1 ctx) $(row_value 4 ctx) $(row_value 7 task)" = \
        '"kv" 256 300 "niah"' ]
    [ "$(row_value 1 score) $(row_value 1 agree) $(row_value 1 kl) $(row_value 1 density)" = "100 1 0 1" ]
    is_between 0.1 "$(row_value 3 density)" 0.6
    is_between 0.01 "$(row_value 3 kl)" 100
    is_between 0.1 "$(row_value 2 kept_mass)" 1
    is_between 0.001 "$(row_value 1 ms_per_step)" 10000
}

@test "eval: with everything kept a policy is dense, without it a window fails" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --dtype f32 --tasks kv --samples 10 --sparse sparsed,window --select 1 --json
    expect_ok
    is_between 0 "$(row_value 2 kl)" 1e-6
    [ "$(row_value 2 agree) $(row_value 2 score)" = "1 $(row_value 1 score)" ] || show "not dense"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 10 --sparse window --json
    is_between 90 "$(row_value 1 score)" 100
    is_between 0 "$(row_value 2 score)" 50
    [ "$(row_value 2 losses)" -ge 5 ] || show "losses are counted"
}

@test "eval: the same rows at any number of threads, and in parts" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks niah --samples 4 --sparse sparsed --json
    expect_ok
    one=$(rows_without_time)
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks niah --samples 2 --sparse sparsed --json --out "$SCRATCH/o"
    expect_ok
    [ "$(wc -l <"$SCRATCH/o")" -eq 5 ] || show "settings and four records"
    # shellcheck disable=SC2086
    lacuna eval $QUICK -t 2 --tasks niah --samples 4 --sparse sparsed --json --out "$SCRATCH/o" --resume
    expect_ok
    [ "$(rows_without_time)" = "$one" ] || show "expected: $one"
    [ "$(wc -l <"$SCRATCH/o")" -eq 9 ] || show "settings and eight records"
}

@test "eval: a torn last line is cut off and run again" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 2 --json --out "$SCRATCH/o"
    expect_ok
    rows=$(rows_without_time)
    head -c -40 "$SCRATCH/o" >"$SCRATCH/torn"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 2 --json --out "$SCRATCH/torn" --resume
    expect_ok
    [[ $ERR == *"last line is torn"* ]] || show "says so"
    [ "$(rows_without_time)" = "$rows" ] || show "expected: $rows"
    [ "$(wc -l <"$SCRATCH/torn")" -eq 3 ] || show "whole again"
    printf 'garbage\n' >>"$SCRATCH/torn"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 2 --out "$SCRATCH/torn" --resume
    expect_error 1 "line 4"
}

@test "eval: other settings are refused by name, an existing file without --resume" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 1 --out "$SCRATCH/o"
    expect_ok
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 1 --out "$SCRATCH/o"
    expect_error 2 "exists" "--resume"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --seed 2 --tasks kv --samples 1 --out "$SCRATCH/o" --resume
    expect_error 2 "--seed 1" "2"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 1 --select 0.5 --sparse sparsed --out "$SCRATCH/o" --resume
    expect_error 2 "--sparse-options default" "select=0.5"
    lacuna eval -m "$MODEL" --resume
    expect_error 2 "--resume needs --out"
}

@test "eval: interrupted, then taken up again" {
    "$LACUNA" eval -m "$MODEL" -t 1 --ctx 512 --tasks kv --samples 500 --out "$SCRATCH/o" \
        >"$SCRATCH/out" 2>"$SCRATCH/err" &
    pid=$!
    for _ in $(seq 200); do
        [ "$(wc -l 2>/dev/null <"$SCRATCH/o" || echo 0)" -ge 3 ] && break
        sleep 0.1
    done
    kill -INT $pid
    status=0
    wait $pid || status=$?
    [ "$status" -eq 130 ]
    [ ! -s "$SCRATCH/out" ]
    grep -q "stopped after .* of 500 samples" "$SCRATCH/err"
    done=$(($(wc -l <"$SCRATCH/o") - 1))
    [ -z "$(tail -c 1 "$SCRATCH/o" | tr -d '\n')" ]
    lacuna eval -m "$MODEL" -t 1 -q --ctx 512 --tasks kv --samples "$done" --out "$SCRATCH/o" --resume --json
    expect_ok
    [ "$(row_value 1 samples)" -eq "$done" ] || show "nothing was lost"
}

@test "eval: samples go out as RULER's JSONL and come back with the same scores" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --ctx 512 --tasks kv,niah_single_1 --samples 3 --gen-tokens 16 --sparse window --json
    expect_ok
    cut='s/"needle_kept":[^,]*,//; s/"ms_per_step":[^,]*,//'
    rows=$(sed "$cut" "$SCRATCH/out")
    # shellcheck disable=SC2086
    lacuna eval $QUICK --ctx 512 --tasks kv,niah_single_1 --samples 3 --gen-tokens 16 --export "$SCRATCH/data"
    expect_ok
    [ "$(wc -l <"$SCRATCH/data")" -eq 6 ] || show "six samples"
    grep -q '^{"index":0,"input":".*","outputs":\["[0-9]*"\],"length":[0-9]*,' "$SCRATCH/data"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --data "$SCRATCH/data" --gen-tokens 16 --sparse window --json
    expect_ok
    [ "$(sed "$cut" "$SCRATCH/out")" = "$rows" ] || show "expected: $rows"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks span --ctx 512 --samples 1 --export "$SCRATCH/span"
    expect_error 2 "span" "inside the text"
}

@test "eval: a file of questions scores any answer, and bad lines are named" {
    printf '%s\n' '{"index":7,"input":"lamp: 1234\nWhat is lamp? ","outputs":["1234","no"],"task":"qa_x"}' \
        >"$SCRATCH/qa"
    lacuna eval -m "$MODEL" -t 1 -q --data "$SCRATCH/qa" --gen-tokens 8 --json
    expect_ok
    [ "$(row_value 1 task) $(row_value 1 score)" = '"qa_x" 100' ] || show "any reference scores"
    for bad in '{"input":"x"}' '{"input":"","outputs":["a"]}' '{"input":"x","outputs":[]}' \
        '{"input":"x","outputs":[3]}' '[1]' 'x' '{"input":"x","outputs":["a"],"ctx":-1}'; do
        printf '%s\n%s\n' "$(cat "$SCRATCH/qa")" "$bad" >"$SCRATCH/bad"
        lacuna eval -m "$MODEL" --data "$SCRATCH/bad"
        expect_error 2 "line 2"
    done
    : >"$SCRATCH/empty"
    lacuna eval -m "$MODEL" --data "$SCRATCH/empty"
    expect_error 2 "holds no samples"
    lacuna eval -m "$MODEL" --data "$SCRATCH/none"
    expect_error 2 "cannot read"
}

@test "eval: table, markdown, CSV and chart" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --ctx 128,256 --tasks kv --samples 1 --sparse window --svg "$SCRATCH/c.svg"
    expect_ok
    [[ $OUT == "task"*"policy"*"score"*"vs dense"* ]] || show "a head"
    [ "$(wc -l <"$SCRATCH/out")" -eq 5 ] || show "a line a row"
    grep -q '<svg xmlns=' "$SCRATCH/c.svg"
    [ "$(grep -c '<polyline' "$SCRATCH/c.svg")" -eq 2 ]
    [ "$(tail -n 1 "$SCRATCH/c.svg")" = "</svg>" ]
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 1 --markdown
    [[ $OUT == "| task"*"| ---"* ]] || show "markdown"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks kv --samples 1 --csv
    [[ $OUT == "task,ctx,policy,samples,score,exact,agree,kl,kept_mass,density,ms_per_step,"* ]] || show "csv"
    lacuna eval -m "$MODEL" --json --csv
    expect_error 2 "one format"
}

@test "eval: depths have rows of their own" {
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks niah1 --samples 1 --depth 0,100 --json
    expect_ok
    [ "$(row_value 1 depth) $(row_value 2 depth)" = "0 100" ] || show "depths"
    lacuna eval -m "$MODEL" --depth 101
    expect_error 2 "--depth" "0 to 100"
}

@test "eval: a text of one's own is the haystack, and must be long enough" {
    printf 'It was a dark and stormy night, and the rain fell in torrents. %.0s' $(seq 9) >"$SCRATCH/hay"
    # shellcheck disable=SC2086
    lacuna eval $QUICK --tasks niah1 --samples 1 --haystack "$SCRATCH/hay" --export -
    expect_ok
    [[ $OUT == *"stormy night"* ]] || show "the text is used"
    lacuna eval -m "$MODEL" --tasks niah1 --ctx 1024 --haystack "$SCRATCH/hay"
    expect_error 2 "--haystack" "567 bytes" "--ctx 1024 takes"
    : >"$SCRATCH/empty"
    lacuna eval -m "$MODEL" --haystack "$SCRATCH/empty"
    expect_error 2 "is empty"
    lacuna eval -m "$MODEL" --haystack "$SCRATCH/none"
    expect_error 1 "$SCRATCH/none"
}

@test "eval: tasks, policies and lengths that do not exist" {
    lacuna eval -m "$MODEL" --tasks kv,nia
    expect_error 2 "'nia'" "did you mean niah"
    lacuna eval -m "$MODEL" --tasks xyzzy
    expect_error 2 "'xyzzy'" "multiquery" "ruler"
    lacuna eval -m "$MODEL" --tasks kv,
    expect_error 2 "not a list"
    lacuna eval -m "$MODEL" --sparse wind
    expect_error 2 "wind" "window"
    lacuna eval -m "$MODEL" --sparse ''
    expect_error 2 "not a list"
    lacuna eval -m "$MODEL" --tasks cwe --ctx 512
    expect_error 2 "--ctx 512 is too small for cwe"
    lacuna eval -m "$MODEL" --ctx 999999
    expect_error 2 "999999" "16384"
    for list in 0 -1 x 512,512 512, ''; do
        lacuna eval -m "$MODEL" --ctx "$list"
        expect_error 2 "--ctx"
    done
    lacuna eval -m "$MODEL" --samples 0
    expect_error 2 "--samples"
    lacuna eval -m "$MODEL" --sparse sparsed --select 1.5
    expect_error 2 "--select" "1.5"
    lacuna eval --tasks kv
    expect_error 2 "no model"
    lacuna eval -m "$SCRATCH/none"
    expect_error 3
}

@test "eval: files that cannot be written are named before anything runs" {
    lacuna eval -m "$MODEL" --samples 1 --out "$SCRATCH/no/o"
    expect_error 1 "$SCRATCH/no/o"
    lacuna eval -m "$MODEL" --samples 1 --svg "$SCRATCH/no/c"
    expect_error 1 "$SCRATCH/no/c"
    lacuna eval -m "$MODEL" --samples 1 --export "$SCRATCH/no/e"
    expect_error 1 "$SCRATCH/no/e"
    lacuna eval -m "$MODEL" --max-memory 1M
    expect_error 4 "1.0 MiB"
}
