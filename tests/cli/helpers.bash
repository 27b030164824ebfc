# helpers.bash: what the CLI tests share. They run the program in $LACUNA on the model in the
# repository, and need nothing but a shell, grep, sed and dd. By hand: bats tests/cli/run.bats, on the
# release build.

: "${LACUNA_TEST_ROOT:=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}"
: "${LACUNA:=$LACUNA_TEST_ROOT/build/release/lacuna}"
MODEL="$LACUNA_TEST_ROOT/models/nano-f"

setup() {
    SCRATCH=$(mktemp -d)
    unset "${!LACUNA_ARG_@}" NO_COLOR COLUMNS
}

teardown() {
    rm -rf "$SCRATCH"
}

# Runs the program with stdout, stderr and status kept apart: $OUT, $ERR, $STATUS.
lacuna() {
    STATUS=0
    "$LACUNA" "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
    OUT=$(tr -d '\000' <"$SCRATCH/out")
    ERR=$(cat "$SCRATCH/err")
}

# Fails the test, showing what was seen.
show() {
    printf '%s\n' "$1" "status: $STATUS" "stdout: $OUT" "stderr: $ERR" >&2
    return 1
}

# expect STATUS [WORDS IN STDERR...]: an error is one line, on stderr alone.
expect_error() {
    [ "$STATUS" -eq "$1" ] || show "expected status $1"
    [ -z "$OUT" ] || show "expected nothing on stdout"
    [ "$(wc -l <"$SCRATCH/err")" -eq 1 ] || show "expected one line on stderr"
    shift
    for words in "$@"; do
        case $ERR in *"$words"*) ;; *) show "expected stderr to say: $words" ;; esac
    done
}

expect_ok() {
    [ "$STATUS" -eq 0 ] || show "expected status 0"
}

# Value of a top-level member of the JSON in $OUT, numbers and arrays without blanks.
json_value() {
    printf '%s' "$OUT" | sed -n "s/.*\"$1\":\(\[[^]]*\]\|\"\(\\\\.\|[^\"\\\\]\)*\"\|[^,}]*\).*/\1/p"
}

# Names of the top-level members of the JSON object in $OUT, in order. The objects tested hold no
# objects inside, so a name is what a quote, a word and a colon are.
json_keys() {
    printf '%s' "$OUT" | grep -o '[{,]"[a-z_]*":' | sed 's/[^a-z_]//g' | tr '\n' ' ' | sed 's/ $//'
}

# A copy of the model that a test may damage.
copy_model() {
    cp -r "$MODEL" "$SCRATCH/model"
    chmod -R u+w "$SCRATCH/model"
}
