# masks.bats: pictures of attention: from a run, from its trace, and what is refused.
load helpers

PROMPT="The small garden behind the river had seventeen lamps, and every one of them was lit."

# traced FLAGS...: a run of 8 tokens with its plans in $SCRATCH/t.
traced() {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --ignore-eos --dtype f32 -q --trace "$SCRATCH/t" --trace-masks "$@"
    expect_ok
}

# can_draw: whether this build has cairo.
can_draw() {
    ! "$LACUNA" inspect --masks "$SCRATCH/absent" -o "$SCRATCH/x.svg" 2>&1 | grep -q "no cairo"
}

@test "a trace with masks has a line per layer and step, and repeats nothing" {
    traced --sparse sparsed --sparse-block 16 --skip 0.25
    [ "$(grep -c '^{"type":"plan","step":[0-7],"pass":0,"layer":[0-3],' "$SCRATCH/t")" -eq 32 ] || show "lines"
    [ "$(grep -c '"kept":"same"' "$SCRATCH/t")" -eq 20 ] || show "every step after a first plan is the same"
    grep -q '"step":2,.*"kept_mass":\[[0-9.,]*\],"kept":\["[0-9a-f]*",' "$SCRATCH/t" || show "kept"
    ! grep -q '"mass":' "$SCRATCH/t" || show "masses nobody asked for"
    traced --sparse off --measure --sparse-block 16
    [ "$(grep -c '"mass_block":16,"mass":\["[0-9a-f]*",' "$SCRATCH/t")" -eq 32 ] || show "masses"
}

@test "measuring and tracing leave the text as it is" {
    lacuna run -m "$MODEL" -p "$PROMPT" -n 8 --ignore-eos --dtype f32 -q --sparse off
    want=$OUT
    traced --sparse off --measure
    [ "$OUT" = "$want" ] || show "another text: $want"
}

@test "a page holds everything it shows" {
    traced --sparse off --measure
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.html"
    expect_ok
    [ -z "$OUT$ERR" ] || show "nothing to say"
    grep -q '<!doctype html>' "$SCRATCH/m.html" || show "a page"
    grep -q '"model":"nano-f","sparse":"dense","layers":4,"heads":4,' "$SCRATCH/m.html" || show "data"
    ! grep -q 'src=\|href=\|url(\|import ' "$SCRATCH/m.html" || show "fetches something"
    [ ! -e "$SCRATCH/m.html.tmp" ] || show "the temporary file is still there"
    sed -i 's/"model":"nano-f"/"model":"<\/script><b>"/' "$SCRATCH/t"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.html"
    [ "$(grep -c '</script>' "$SCRATCH/m.html")" -eq 1 ] || show "a name ends the script"
}

@test "pictures and the table, from a run and from its trace" {
    traced --sparse sparsed --masks "$SCRATCH/run.csv"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/trace.csv"
    expect_ok
    cmp "$SCRATCH/run.csv" "$SCRATCH/trace.csv" || show "the trace says something else"
    [ "$(grep -c '^density,' "$SCRATCH/run.csv")" -eq 16 ] || show "a density for each head"
    [ "$(grep -c '^step_likeness,' "$SCRATCH/run.csv")" -eq 64 ] || show "steps"
    can_draw || skip "no cairo in this build"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.svg" --step 3
    expect_ok
    grep -q '<svg' "$SCRATCH/m.svg" || show "svg"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.png"
    expect_ok
    [ "$(head -c 4 "$SCRATCH/m.png" | tail -c 3)" = PNG ] || show "png"
}

@test "what is no trace with masks is refused, and no picture is left" {
    refused() {
        lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.html"
        expect_error 1 "$SCRATCH/t" "$@"
        [ ! -e "$SCRATCH/m.html" ] || show "a picture"
        [ ! -e "$SCRATCH/m.html.tmp" ] || show "half a picture"
    }
    refused "No such file"
    echo hello >"$SCRATCH/t"
    refused "line 1"
    lacuna run -m "$MODEL" -p "$PROMPT" -n 2 -q --trace "$SCRATCH/t"
    refused "--trace-masks"
    traced --sparse sparsed --sparse-block 16
    head -n 20 "$SCRATCH/t" >"$SCRATCH/u"
    mv "$SCRATCH/u" "$SCRATCH/t"
    refused "ends after line 20"
    traced --sparse sparsed --sparse-block 16
    sed -i '15s/"n_k":[0-9]*/"n_k":96/' "$SCRATCH/t"
    refused "line 15"
}

@test "mistakes on the command line" {
    mistake() {
        words=$1
        shift
        lacuna "$@"
        expect_error 2 "$words"
    }
    mistake "needs -o" inspect --masks t
    mistake ".html, .svg, .png or .csv" inspect --masks t -o m.jpg
    mistake ".html, .svg, .png or .csv" inspect --masks t -o m
    mistake "neither -m" inspect --masks t -o m.html -m "$MODEL"
    mistake "need --masks" inspect -m "$MODEL" -o m.html
    mistake "--against" inspect --against t -o m.csv
    mistake "-o FILE.csv" inspect --masks t --against t -o m.html
    mistake "no --step" inspect --masks t --against t -o m.csv --step 1
    mistake "--select" inspect --masks t -o m.html --select 0
    mistake "--select" inspect --masks t -o m.html --select 1.5
    mistake "--trace-masks needs" run -m "$MODEL" -p x --trace-masks
    mistake ".html, .svg, .png or .csv" run -m "$MODEL" -p x --masks m.txt
    traced --sparse off
    mistake "--step 99" inspect --masks "$SCRATCH/t" -o "$SCRATCH/m.csv" --step 99
}

@test "patterns of one run against the softmax of another" {
    traced --sparse off --measure
    lacuna inspect --masks "$SCRATCH/t" --against "$SCRATCH/t" -o "$SCRATCH/x.csv"
    expect_ok
    # A run against itself holds what its own patterns hold.
    [ "$(grep -c ^cross_mass "$SCRATCH/x.csv")" -eq "$(grep -c ^own_mass "$SCRATCH/x.csv")" ]
    diff <(grep ^cross_mass "$SCRATCH/x.csv" | cut -d, -f2-) \
        <(grep ^own_mass "$SCRATCH/x.csv" | cut -d, -f2-)
    mv "$SCRATCH/t" "$SCRATCH/first"
    PROMPT="another prompt, of which nothing is the same as in it." traced --sparse off --measure
    lacuna inspect --masks "$SCRATCH/first" --against "$SCRATCH/t" -o "$SCRATCH/x.csv"
    expect_error 2 "differ in"
    lacuna inspect --masks "$SCRATCH/first" --against "$SCRATCH/none" -o "$SCRATCH/x.csv"
    expect_error 1 "$SCRATCH/none"
}

@test "a picture that cannot be written" {
    traced --sparse off
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/no/m.html"
    expect_error 1 "$SCRATCH/no/m.html" "No such file"
    lacuna run -m "$SCRATCH/absent" -p x --masks "$SCRATCH/no/m.html"
    expect_error 1 "$SCRATCH/no/m.html" "No such file"
    [ -w /dev/full ] || skip "no /dev/full here"
    ln -s /dev/full "$SCRATCH/full.csv"
    lacuna inspect --masks "$SCRATCH/t" -o "$SCRATCH/full.csv"
    expect_error 1 "full.csv" "No space"
}
