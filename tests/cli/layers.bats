#!/usr/bin/env bats
# layers.bats: what scripts/check_layers.sh finds, in a small tree of its own.

load helpers

setup() {
    tree=$BATS_TEST_TMPDIR/tree
    mkdir -p "$tree"/scripts "$tree"/include "$tree"/examples "$tree"/src/base "$tree"/src/engine \
        "$tree"/tools/shell "$tree"/tools/run
    cp "$LACUNA_TEST_ROOT"/scripts/check_layers.sh "$tree"/scripts
    echo 'int lac_open(void);' > "$tree"/include/lacuna.h
    echo 'int laci_fail(int a);' > "$tree"/src/base/error.h
    cat > "$tree"/src/base/error.c <<'END'
#include "base/error.h"
int laci_fail(int a)
{
    return a;
}
END
    cat > "$tree"/src/engine/pass.c <<'END'
#include "base/error.h"
int laci_pass(int a,
              int b)
{
    return laci_fail(a) + b; /* not laci_loop */
}
END
    cat > "$tree"/src/engine/loop.c <<'END'
/* calls laci_pass,
 * laci_loop of its own */
int laci_loop(void)
{
    return laci_pass(1, 2);
}
END
    cat > "$tree"/tools/shell/args.c <<'END'
int args_parse(void)
{
    return lac_open();
}
END
    cat > "$tree"/tools/run/prompt.c <<'END'
int prompt_read(void)
{
    return args_parse() + laci_fail(0);
}
END
}

# check STATUS: runs the script in the tree.
check() {
    run "$tree"/scripts/check_layers.sh
    [ "$status" -eq "$1" ] || { echo "$output"; false; }
}

@test "a tree that keeps the rules passes" {
    check 0
    [ "$output" = "layers: 7 files keep the rules" ]
}

@test "headers that include each other are found, through a third one too" {
    echo '#include "engine/b.h"' > "$tree"/src/engine/a.h
    echo '#include "engine/c.h"' > "$tree"/src/engine/b.h
    echo '#include "base/error.h"' > "$tree"/src/engine/c.h
    check 0
    echo '#include "engine/a.h"' >> "$tree"/src/engine/c.h
    check 1
    [[ "$output" == *"src/engine/a.h: includes src/engine/b.h: a circle"* ]]
    [[ "$output" == *"src/engine/c.h: includes src/engine/a.h: a circle"* ]]
    [[ "$output" == *"3 rules broken"* ]]
}

@test "files that call each other are found, and why" {
    sed -i 's/+ b;/+ laci_loop();/' "$tree"/src/engine/pass.c
    check 1
    [[ "$output" == *"src/engine/pass.c: uses src/engine/loop.c (laci_loop): a circle"* ]]
    [[ "$output" == *"src/engine/loop.c: uses src/engine/pass.c (laci_pass): a circle"* ]]
    [[ "$output" == *"2 rules broken"* ]]
}

@test "a circle through a table of functions is found" {
    echo 'const int laci_table[] = { laci_loop };' >> "$tree"/src/engine/loop.c
    sed -i 's/+ b;/+ laci_table[0];/' "$tree"/src/engine/pass.c
    check 1
    [[ "$output" == *"src/engine/pass.c: uses src/engine/loop.c (laci_table): a circle"* ]]
}

@test "the program may not name what is inside the library" {
    sed -i 's/lac_open()/laci_loop()/' "$tree"/tools/shell/args.c
    check 1
    [[ "$output" == *"tools/shell/args.c:3: names laci_loop of src/engine/loop.c;"* ]]
}

@test "a folder of the program may not name what is above it" {
    sed -i 's/lac_open()/prompt_read()/; s/args_parse/args_first/' "$tree"/tools/shell/args.c
    check 1
    [[ "$output" == *"tools/shell/args.c:3: names prompt_read of tools/run/prompt.c;"* ]]
}

@test "includes that the table forbids are found with their line" {
    echo '#include "engine/pass.h"' >> "$tree"/src/base/error.c
    check 1
    [[ "$output" == *"src/base/error.c:6: includes \"engine/pass.h\"; base may include lacuna.h and base only"* ]]
}
