# trace.bats: --trace, and what is left after Ctrl-C.
load helpers

PROMPT="Once upon a time there was"

@test "a trace has a header, a line per step and a summary" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 12 --steps 6 --block-length 6 -q --trace "$SCRATCH/t"
    expect_ok
    [ "$(wc -l <"$SCRATCH/t")" -eq 8 ] || show "expected 8 lines"
    head -n 1 "$SCRATCH/t" | grep -q '^{"type":"header","version":"[0-9.]*".*"n_prompt":26,' || show "header"
    [ "$(grep -c '^{"type":"step","step":[0-9]*,"block":[01],"span":\[[0-9]*,[0-9]*\],"n_fixed":2,' "$SCRATCH/t")" -eq 6 ] ||
        show "steps"
    tail -n 1 "$SCRATCH/t" | grep -q '^{"type":"summary","finish_reason":"' || show "summary"
    [ "$(grep -o '"fixed":\[[^]]*\]' "$SCRATCH/t" | grep -o '"pos":' | wc -l)" -eq 12 ] || show "fixed"
    [ ! -e "$SCRATCH/t.tmp" ] || show "the temporary file is still there"
}

@test "a trace that cannot be written is refused before the model is read" {
    lacuna run -m "$SCRATCH/absent" -p "$PROMPT" -n 4 --trace "$SCRATCH/no/such/folder/t"
    expect_error 1 "$SCRATCH/no/such/folder/t" "No such file"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 --trace "$SCRATCH"
    expect_error 1 "$SCRATCH" "directory"
}

@test "a run that fails leaves an earlier trace alone" {
    echo earlier >"$SCRATCH/t"
    lacuna run -m "$SCRATCH/absent" -p "$PROMPT" -n 4 --trace "$SCRATCH/t"
    [ "$STATUS" -eq 3 ] || show "expected status 3"
    [ "$(cat "$SCRATCH/t")" = earlier ] || show "the earlier trace is gone"
    [ ! -e "$SCRATCH/t.tmp" ] || show "the temporary file is still there"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 -q --trace "$SCRATCH/t"
    expect_ok
    grep -q header "$SCRATCH/t" || show "the new trace is not there"
}

@test "a full disk behind the trace does not lose the text" {
    [ -w /dev/full ] || skip "no /dev/full here"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 4 -q --trace /dev/full
    [ "$STATUS" -eq 1 ] || show "expected status 1"
    [ -n "$OUT" ] || show "no text"
    [[ $ERR == *"/dev/full"* ]] || show "expected the name of the trace"
}

# interrupted SIGNAL FLAGS...: starts a run that would last for minutes, stops it after its first
# steps; status in $STATUS.
interrupted() {
    signal=$1
    shift
    "$LACUNA" run -m "$MODEL" -p "$PROMPT" -n 200 --visual --visual-delay 300 --forbid-eos "$@" \
        >"$SCRATCH/out" 2>"$SCRATCH/err" &
    pid=$!
    for _ in $(seq 200); do
        [ "$(wc -l <"$SCRATCH/err")" -lt 1 ] || break
        sleep 0.05
    done
    sleep 0.5
    kill "-$signal" "$pid"
    STATUS=0
    wait "$pid" || STATUS=$?
    OUT=$(cat "$SCRATCH/out") ERR=$(cat "$SCRATCH/err")
}

@test "Ctrl-C prints what is committed and gives 130" {
    interrupted INT
    [ "$STATUS" -eq 130 ] || show "expected status 130"
    [ -n "$OUT" ] || show "no text"
    [[ $ERR == *cancelled* ]] || show "no summary"
}

@test "Ctrl-C with --json gives a whole object, and a whole trace" {
    interrupted INT --json --trace "$SCRATCH/t"
    [ "$STATUS" -eq 130 ] || show "expected status 130"
    [ "$(json_value finish_reason)" = '"cancelled"' ] || show "finish_reason"
    tail -n 1 "$SCRATCH/t" | grep -q '"type":"summary","finish_reason":"cancelled"' || show "trace"
}

@test "SIGTERM gives 143" {
    interrupted TERM
    [ "$STATUS" -eq 143 ] || show "expected status 143"
    [ -n "$OUT" ] || show "no text"
}
