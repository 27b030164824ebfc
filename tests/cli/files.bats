# files.bats: the files a command line names: outputs appear whole or not at all, never over what is
# read, one writer at a time; signals, closed streams, pipes and little memory leave no ruins.
load helpers

RUN="run -m $MODEL -p Once -t 1 -q"

# No temporary file is left in the folder.
expect_clean() {
    [ -z "$(find "$SCRATCH" -name '*.tmp')" ] || show "left behind: $(find "$SCRATCH" -name '*.tmp')"
}

# A file is a whole trace: lines of JSON from a header to a summary.
expect_trace() {
    head -n 1 "$1" | grep -q '^{"type":"header".*}$' || show "no header: $(head -c 100 "$1")"
    tail -n 1 "$1" | grep -q '^{"type":"summary".*}$' || show "no summary: $(tail -c 100 "$1")"
    ! grep -qv '^{.*}$' "$1" || show "a line that is no object"
}

# Starts a long run in the background and waits until its trace is being written: $PID.
start_long() {
    "$LACUNA" run -m "$MODEL" -p Once -n 1000 -q -t 1 --trace "$SCRATCH/t" "$@" \
        >"$SCRATCH/out" 2>"$SCRATCH/err" &
    PID=$!
    for _ in $(seq 400); do
        [ -z "$(find "$SCRATCH" -name 't.*.tmp' -size +0)" ] || return 0
        sleep 0.05
    done
    show "the run does not write"
}

end_long() {
    STATUS=0
    wait "$PID" || STATUS=$?
    OUT=$(cat "$SCRATCH/out") ERR=$(cat "$SCRATCH/err")
}

# ------------------------------------------------------------------ outputs and inputs

@test "an output is never what is read, by whatever name" {
    printf 'The [MASK*3] cat' >"$SCRATCH/draft"
    ln "$SCRATCH/draft" "$SCRATCH/hard"
    ln -s draft "$SCRATCH/soft"
    mkdir "$SCRATCH/sub"
    for name in draft hard soft sub/../draft; do
        lacuna run -m "$MODEL" --canvas "$SCRATCH/draft" -n 0 --trace "$SCRATCH/$name"
        expect_error 2 --trace --canvas
        lacuna run -m "$MODEL" --canvas - -n 0 --trace "$SCRATCH/$name" <"$SCRATCH/draft"
        expect_error 2 --trace "--canvas -"
        lacuna run -m "$MODEL" -f "$SCRATCH/$name" -n 4 --trace "$SCRATCH/draft"
        expect_error 2 --trace --file
    done
    cp "$SCRATCH/draft" "$SCRATCH/p.csv"
    lacuna run -m "$MODEL" -f "$SCRATCH/p.csv" -n 4 --masks "$SCRATCH/p.csv"
    expect_error 2 --masks --file
    [ "$(cat "$SCRATCH/draft" "$SCRATCH/p.csv")" = "The [MASK*3] catThe [MASK*3] cat" ] || show "it is gone"
    expect_clean
}

@test "an output is no file of the model" {
    copy_model
    sum=$(cat "$SCRATCH/model"/* | cksum)
    for name in config.json model.safetensors; do
        lacuna run -m "$SCRATCH/model" -p x -n 4 --trace "$SCRATCH/model/$name"
        expect_error 2 --trace "$name" --model
    done
    ln -s ../model "$SCRATCH/model/here"
    lacuna eval -m "$SCRATCH/model/here" --samples 1 --svg "$SCRATCH/model/config.json"
    expect_error 2 --svg config.json
    rm "$SCRATCH/model/here"
    cp "$LACUNA_TEST_ROOT/tests/golden/dream-gguf/model-f16.gguf" "$SCRATCH/m.gguf"
    lacuna run -m "$SCRATCH/m.gguf" -p x -n 4 --trace "$SCRATCH/m.gguf"
    expect_error 2 --trace --model
    [ "$(cat "$SCRATCH/model"/* | cksum)" = "$sum" ] || show "the model has changed"
    lacuna $RUN -n 4 --trace "$SCRATCH/model/new"
    expect_ok
}

@test "two outputs are two files" {
    lacuna $RUN -n 4 --sparse sparsed --trace "$SCRATCH/x.csv" --masks "$SCRATCH/./x.csv"
    expect_error 2 --trace --masks "one file"
    : >"$SCRATCH/y.csv"
    ln -s y.csv "$SCRATCH/x.csv"
    lacuna $RUN -n 4 --sparse sparsed --trace "$SCRATCH/x.csv" --masks "$SCRATCH/y.csv"
    expect_error 2 "one file"
    lacuna eval -m "$MODEL" --samples 1 --out "$SCRATCH/r" --svg "$SCRATCH/r"
    expect_error 2 --out --svg
    [ ! -e "$SCRATCH/r" ] || show "something was written"
    lacuna $RUN -n 4 --sparse sparsed --trace /dev/null --masks "$SCRATCH/z.csv"
    expect_ok
}

@test "an output is not standard output, by name or by number" {
    cd "$SCRATCH"
    lacuna $RUN -n 4 --trace -
    expect_error 2 "--trace -"
    lacuna eval -m "$MODEL" --samples 1 --out -
    expect_error 2 "--out -"
    lacuna eval -m "$MODEL" --samples 1 --svg -
    expect_error 2 "--svg -"
    [ ! -e - ] || show "a file named -"
    lacuna $RUN -n 4 --trace /dev/stdout
    expect_error 2 --trace "standard output"
    lacuna $RUN -n 4 --trace "$SCRATCH/err"
    expect_error 2 --trace "standard error"
    lacuna $RUN -n 4 --trace ./-
    expect_ok
    expect_trace ./-
}

@test "samples and pictures are not written over what they come from" {
    lacuna $RUN -n 4 --sparse window --trace "$SCRATCH/t.csv" --trace-masks
    expect_ok
    lacuna inspect --masks "$SCRATCH/t.csv" -o "$SCRATCH/t.csv"
    expect_error 2 --output --masks
    lacuna inspect --masks "$SCRATCH/t.csv" --against "$SCRATCH/t.csv" -o "$SCRATCH/t.csv"
    expect_error 2 --output
    expect_trace "$SCRATCH/t.csv"
    printf '{"input":"lamp: 1234\\nWhat is lamp? ","outputs":["1234"]}\n' >"$SCRATCH/d"
    lacuna eval -m "$MODEL" --data "$SCRATCH/d" --out "$SCRATCH/d"
    expect_error 2 --out --data
    lacuna eval -m "$MODEL" --haystack "$SCRATCH/d" --export "$SCRATCH/d"
    expect_error 2 --export --haystack
    [ "$(wc -l <"$SCRATCH/d")" -eq 1 ] || show "it is gone"
}

# ------------------------------------------------------------------ whole or not at all

@test "names beside an output belong to others" {
    echo mine >"$SCRATCH/t.tmp"
    echo kept >"$SCRATCH/victim"
    ln -s victim "$SCRATCH/c.svg.tmp"
    lacuna $RUN -n 4 --trace "$SCRATCH/t"
    expect_ok
    expect_trace "$SCRATCH/t"
    lacuna eval -m "$MODEL" -t 1 -q --ctx 128 --tasks kv --samples 1 --steps 1 --svg "$SCRATCH/c.svg"
    expect_ok
    lacuna run -m "$MODEL" -p x -n 99999 --trace "$SCRATCH/t"
    expect_error 2
    [ "$(cat "$SCRATCH/t.tmp") $(cat "$SCRATCH/victim")" = "mine kept" ] || show "they were touched"
    expect_trace "$SCRATCH/t"
}

@test "an older file keeps its mode, and a link stays a link" {
    for flag in --trace --masks; do
        : >"$SCRATCH/x.csv"
        chmod 640 "$SCRATCH/x.csv"
        ln -s x.csv "$SCRATCH/l.csv"
        lacuna $RUN -n 4 --sparse window $flag "$SCRATCH/l.csv"
        expect_ok
        [ -L "$SCRATCH/l.csv" ] && [ -s "$SCRATCH/x.csv" ] || show "$flag: the link was replaced"
        [ "$(stat -c %a "$SCRATCH/x.csv")" = 640 ] || show "$flag: another mode"
        rm "$SCRATCH/x.csv" "$SCRATCH/l.csv"
    done
}

@test "a file that may not grow leaves the older one" {
    for words in "run -p Once -n 64 --trace" "eval --ctx 4096 --tasks kv --samples 5 --export"; do
        echo older >"$SCRATCH/f"
        STATUS=0
        # shellcheck disable=SC2086 # words on purpose
        (ulimit -f 8 && "$LACUNA" ${words%% *} -m "$MODEL" -q -t 1 ${words#* } "$SCRATCH/f" \
            >/dev/null 2>"$SCRATCH/err") || STATUS=$?
        OUT='' ERR=$(cat "$SCRATCH/err")
        expect_error 1 "cannot write" "$SCRATCH/f" "too large"
        [ "$(cat "$SCRATCH/f")" = older ] || show "the older file is gone"
        expect_clean
    done
}

@test "two runs of one trace: each whole, the last one stays" {
    for i in 1 2 3; do
        "$LACUNA" run -m "$MODEL" -p "Once $i" -n 32 -q -t 1 --trace "$SCRATCH/t" >/dev/null 2>>"$SCRATCH/all" &
    done
    wait
    [ ! -s "$SCRATCH/all" ] || show "$(cat "$SCRATCH/all")"
    expect_trace "$SCRATCH/t"
    [ "$(grep -c '"type":"header"' "$SCRATCH/t")" -eq 1 ] || show "two headers"
    expect_clean
}

@test "records have one writer at a time" {
    quick="-m $MODEL -t 1 -q --ctx 128 --tasks kv --steps 1 --samples 2"
    # shellcheck disable=SC2086
    lacuna eval $quick --out "$SCRATCH/r"
    expect_ok
    sum=$(cksum <"$SCRATCH/r")
    exec 8<"$SCRATCH/r"
    flock -n 8
    # shellcheck disable=SC2086
    lacuna eval $quick --samples 3 --out "$SCRATCH/r" --resume
    expect_error 1 "another program is writing" "$SCRATCH/r"
    [ "$(cksum <"$SCRATCH/r")" = "$sum" ] || show "it has changed"
    exec 8<&-
    # shellcheck disable=SC2086
    lacuna eval $quick --samples 3 --out "$SCRATCH/r" --resume
    expect_ok
    mkfifo "$SCRATCH/pipe"
    # shellcheck disable=SC2086
    lacuna eval $quick --out "$SCRATCH/pipe" --resume
    expect_error 2 "not a regular file"
}

# ------------------------------------------------------------------ signals and streams

@test "SIGHUP prints what is committed and gives 129" {
    start_long
    kill -HUP "$PID"
    end_long
    [ "$STATUS" -eq 129 ] || show "expected status 129"
    [ -s "$SCRATCH/out" ] || show "no text"
    expect_trace "$SCRATCH/t"
    expect_clean
}

@test "under nohup SIGHUP is ignored" {
    (trap '' HUP && start_long && kill -HUP "$PID" && kill -TERM "$PID" && end_long &&
        [ "$STATUS" -eq 143 ]) || show "expected status 143"
}

@test "the second signal leaves no unfinished file" {
    for name in INT HUP; do
        echo older >"$SCRATCH/t"
        start_long
        kill -STOP "$PID" # both arrive at once
        kill -s $name "$PID"
        kill -s TERM "$PID"
        kill -s INT "$PID"
        kill -CONT "$PID"
        end_long
        [ "$STATUS" -ge 129 ] || show "expected a death by a signal"
        [ "$(cat "$SCRATCH/t")" = older ] || expect_trace "$SCRATCH/t"
        expect_clean
    done
}

@test "with a stream closed nothing lands in another file" {
    "$LACUNA" $RUN -n 8 --trace "$SCRATCH/t" >&- 2>"$SCRATCH/err" && show "no text, and yet status 0"
    grep -q "standard output" "$SCRATCH/err" || show "it does not say so"
    expect_trace "$SCRATCH/t"
    "$LACUNA" run -m "$MODEL" -p Once -n 8 -t 1 -v --trace "$SCRATCH/t" 2>&- >"$SCRATCH/out"
    expect_trace "$SCRATCH/t"
    "$LACUNA" $RUN -n 8 --trace "$SCRATCH/t" <&- >"$SCRATCH/out"
    expect_trace "$SCRATCH/t"
    status=0
    "$LACUNA" $RUN -n 8 --trace "$SCRATCH/t" <&- >&- 2>&- || status=$?
    [ $status -eq 1 ] || show "all closed: status $status"
    expect_trace "$SCRATCH/t"
    lacuna run -m "$MODEL" --canvas - -n 4 <&-
    expect_error 1 "standard input"
    for words in --version "tokenize -m $MODEL" "inspect -m $MODEL" "run --help" "bench --help"; do
        status=0
        # shellcheck disable=SC2086
        "$LACUNA" $words >&- 2>"$SCRATCH/err" <<<text || status=$?
        [ $status -eq 1 ] || show "$words: status $status"
    done
}

@test "a reader who leaves takes no trace along" {
    mkfifo "$SCRATCH/pipe"
    : <"$SCRATCH/pipe" &
    STATUS=0
    "$LACUNA" $RUN -n 8 --trace "$SCRATCH/t" 2>"$SCRATCH/err" | : || true
    expect_trace "$SCRATCH/t"
    "$LACUNA" $RUN -n 64 --trace "$SCRATCH/pipe" >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
    wait
    OUT=$(cat "$SCRATCH/out") ERR=$(cat "$SCRATCH/err")
    [ "$STATUS" -le 1 ] || show "expected the text, whatever the reader does"
    [ -n "$OUT" ] || show "no text"
}

# ------------------------------------------------------------------ odd inputs

@test "a pipe in a model's folder is refused, not waited for" {
    for name in config.json generation_config.json model.safetensors tokenizer.json \
        tokenizer_config.json model.safetensors.index.json; do
        cp -r "$LACUNA_TEST_ROOT/tests/golden/dream" "$SCRATCH/m"
        chmod -R u+w "$SCRATCH/m"
        rm -f "$SCRATCH/m/$name"
        [ $name != model.safetensors.index.json ] || rm "$SCRATCH/m/model.safetensors"
        mkfifo "$SCRATCH/m/$name"
        STATUS=0
        timeout 20 "$LACUNA" inspect -m "$SCRATCH/m" >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
        OUT=$(cat "$SCRATCH/out") ERR=$(cat "$SCRATCH/err")
        [ "$STATUS" -ne 124 ] || show "$name: it waits"
        [ "$STATUS" -eq 0 ] || expect_error 3 "$name" pipe
        rm -r "$SCRATCH/m"
    done
    mkfifo "$SCRATCH/m.gguf"
    STATUS=0
    timeout 20 "$LACUNA" inspect -m "$SCRATCH/m.gguf" >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
    OUT='' ERR=$(cat "$SCRATCH/err")
    expect_error 3 m.gguf pipe
}

@test "texts may come out of pipes" {
    lacuna run -m "$MODEL" -f <(echo text) -n 4 -q -t 1
    expect_ok
    lacuna eval -m "$MODEL" -q -t 1 -n 4 --steps 1 --data \
        <(echo '{"input":"lamp: 1234\nWhat is lamp? ","outputs":["1234"]}')
    expect_ok
    echo '{"input":"lamp: 1234\nWhat is lamp? ","outputs":["1234"]}' >"$SCRATCH/d"
    lacuna eval -m "$MODEL" -q -t 1 -n 4 --steps 1 --data - <"$SCRATCH/d"
    expect_ok
}

@test "any text is a haystack, or is refused by name" {
    quick="-m $MODEL -t 1 -q -n 8 --steps 1 --samples 1 --ctx 128"
    yes '水は清い。' | head -n 999 | tr -d '\n' >"$SCRATCH/wide"
    head -c 3000 /dev/zero | tr '\0' x >"$SCRATCH/run"
    { printf 'a '; head -c 9000 /dev/zero | tr '\0' y; } >"$SCRATCH/word"
    yes ' ' | head -n 3000 >"$SCRATCH/blank"
    printf 'It was a dark and stormy night.\r\n%.0s' $(seq 99) >"$SCRATCH/crlf"
    for name in wide run word blank crlf; do
        for task in niah niah1; do
            STATUS=0
            # shellcheck disable=SC2086
            timeout 20 "$LACUNA" eval $quick --tasks $task --haystack "$SCRATCH/$name" --json \
                >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
            OUT=$(cat "$SCRATCH/out") ERR=$(cat "$SCRATCH/err")
            [ "$STATUS" -eq 0 ] || show "$name, $task"
        done
        # shellcheck disable=SC2086
        lacuna eval $quick --ctx 999 --tasks niah_single_2 --haystack "$SCRATCH/$name"
        [ "$STATUS" -eq 0 ] || expect_error 2 --haystack
    done
    # shellcheck disable=SC2086
    lacuna eval $quick --ctx 512 --tasks span --haystack "$SCRATCH/run"
    expect_error 2 span "no words"
    printf 'a\0b %.0s' $(seq 999) >"$SCRATCH/nul"
    # shellcheck disable=SC2086
    lacuna eval $quick --haystack "$SCRATCH/nul"
    expect_error 2 "$SCRATCH/nul" "byte 1" NUL
    printf x >"$SCRATCH/short"
    # shellcheck disable=SC2086
    lacuna eval $quick --tasks niah --haystack "$SCRATCH/short"
    expect_error 2 "has 1 bytes"
    { printf '\357\273\277'; cat "$SCRATCH/crlf"; } >"$SCRATCH/marked"
    # shellcheck disable=SC2086
    lacuna eval $quick --tasks niah1 --haystack "$SCRATCH/crlf" --export -
    plain=$OUT
    # shellcheck disable=SC2086
    lacuna eval $quick --tasks niah1 --haystack "$SCRATCH/marked" --export -
    [ "$OUT" = "$plain" ] || show "the mark is in the text"
}

@test "a byte order mark and CR LF are no part of a text of lines" {
    printf '\357\273\277{"input":"lamp: 1234\\nWhat is lamp? ","outputs":["1234"]}\r\n\r\n' >"$SCRATCH/d"
    lacuna eval -m "$MODEL" -q -t 1 -n 4 --steps 1 --data "$SCRATCH/d"
    expect_ok
    quick="-m $MODEL -t 1 -q --ctx 128 --tasks kv --steps 1 --samples 2"
    # shellcheck disable=SC2086
    lacuna eval $quick --out "$SCRATCH/r"
    { printf '\357\273\277'; sed 's/$/\r/' "$SCRATCH/r"; } >"$SCRATCH/r2"
    # shellcheck disable=SC2086
    lacuna eval $quick --samples 3 --out "$SCRATCH/r2" --resume
    expect_ok
    [ "$(wc -l <"$SCRATCH/r2")" -eq 4 ] || show "settings and three records"
    lacuna $RUN -n 4 --sparse window --trace "$SCRATCH/t" --trace-masks
    { printf '\357\273\277'; sed 's/$/\r/' "$SCRATCH/t"; } >"$SCRATCH/t2"
    lacuna inspect --masks "$SCRATCH/t2" -o "$SCRATCH/o.csv"
    expect_ok
    printf '\357\273\277The [MASK*2] sat' >"$SCRATCH/c"
    lacuna run -m "$MODEL" --canvas "$SCRATCH/c" -f "$SCRATCH/c" -n 0 -q -t 1 --chat-template none --json
    expect_ok
    [ "$(json_value n_prompt)" -eq 24 ] || show "the mark was read"
}

@test "a trace of very many heads is drawn in no time" {
    printf '%s\n' '{"type":"header","model":"m","sparse":"off","n_layers":8192,"n_heads":1,"n_prompt":0,"steps":1}' \
        '{"type":"plan","step":0,"pass":0,"layer":0,"n_q":16,"n_k":16,"q_block":16,"k_block":16,"kept_mass":null,"kept":["8"]}' \
        '{"type":"summary"}' >"$SCRATCH/t"
    little="-v 500000" # where the build lives with it: under a sanitizer it does not
    # shellcheck disable=SC2086
    (ulimit -c 0 $little && "$LACUNA" --version) >/dev/null 2>&1 || little=
    for end in csv html; do
        # shellcheck disable=SC2086
        (ulimit -t 10 $little && "$LACUNA" inspect --masks "$SCRATCH/t" -o "$SCRATCH/o.$end") ||
            show "too much for $end"
    done
    [ "$(grep -c '^head_likeness' "$SCRATCH/o.csv")" -eq $((512 * 512)) ] || show "pairs of heads"
    sed -i 's/"kept_mass":null/"kept_mass":[-77]/' "$SCRATCH/t"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/o.csv"
    expect_error 1 "line 2" kept_mass
}

@test "little memory is a sentence at every size" {
    (ulimit -c 0 -v 500000 && "$LACUNA" --version) >/dev/null 2>&1 ||
        skip "this build, under a sanitizer, needs terabytes of addresses"
    for kib in $(seq 64000 11000 160000); do
        STATUS=0
        (ulimit -c 0 -v "$kib" && "$LACUNA" run -m "$MODEL" -p x -n 4 -q -t 1 >/dev/null 2>"$SCRATCH/err") ||
            STATUS=$?
        OUT='' ERR=$(cat "$SCRATCH/err")
        case $STATUS in # 127: the program itself finds no room
        0) [ -z "$ERR" ] || show "$kib KiB" ;;
        4) expect_error 4 ;;
        127) ;;
        *) show "status $STATUS at $kib KiB" ;;
        esac
    done
    (ulimit -c 0 -d 30000 && "$LACUNA" run -m "$MODEL" -p x -n 4 -q -t 2 >/dev/null 2>&1) || STATUS=$?
    [ "$STATUS" -lt 5 ] || show "status $STATUS with little data"
}
