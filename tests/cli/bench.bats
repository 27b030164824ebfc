# bench.bats: every benchmark on a problem so small that it measures nothing: what its rows hold, and
# what is said to a command line that makes no sense.
load helpers

KEYS="test ctx n_q n_heads n_kv_heads d_head dtype threads isa block density policy seconds_best \
seconds_median gflops peak_gflops peak_share vs_dense rel_l2 max_abs"
ATTN="--ctx 256 --heads 2 --head-dim 32 --block 64 -t 1 --repeat 2 --json -q"

# Every line of $OUT is an object of plain values that begins with the keys all rows have.
expect_rows() { # NUMBER_OF_ROWS
    expect_ok
    [ "$(wc -l <"$SCRATCH/out")" -eq "$1" ] || show "expected $1 rows"
    value='("[^"]*"|null|-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?)'
    ! grep -vE "^\{\"[a-z0-9_]+\":$value(,\"[a-z0-9_]+\":$value)*\}\$" "$SCRATCH/out" || show "not JSON"
    while read -r line; do
        keys=$(printf '%s' "$line" | grep -o '"[a-z0-9_]*":' | tr -d '":' | head -n 20 | tr '\n' ' ')
        [ "$keys" = "$KEYS " ] || show "keys of a row: $keys"
    done <"$SCRATCH/out"
}

# Value of a key in row N, counted from 1.
row_value() { # N KEY
    sed -n "$1p" "$SCRATCH/out" | sed -n "s/.*\"$2\":\(\"[^\"]*\"\|[^,}]*\).*/\1/p"
}

# is_between LOW VALUE HIGH: numbers may have exponents.
is_between() {
    awk -v low="$1" -v value="$2" -v high="$3" \
        'BEGIN { exit !(value != "" && value != "null" && value + 0 >= low + 0 && value + 0 <= high + 0) }'
}

@test "bench: help names the benchmarks, and each explains its flags" {
    lacuna bench --help
    expect_ok
    help=$OUT
    for name in peak attn decode gemm step generate block; do
        [[ $help == *"  $name "* ]] || show "no $name"
        lacuna bench "$name" --help
        expect_ok
        [[ $OUT == "usage: lacuna bench $name"*"--threads"*"--json"*"example:"* ]] || show "no flags"
        [ "$(wc -L <"$SCRATCH/out")" -le 100 ] || show "a line is too long"
    done
    lacuna help bench
    [ "$OUT" = "$help" ] || show "help bench differs from bench --help"
}

@test "bench: no benchmark, or one there is not" {
    lacuna bench
    expect_error 2 "lacuna bench --help"
    lacuna bench pek
    expect_error 2 "'pek'" "did you mean peak"
    lacuna bench --whatever
    expect_error 2 "'--whatever'"
}

@test "attn: a row for each density, with its error and its ratio to dense" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench attn $ATTN --density 1.0,0.5,0.01
    expect_rows 3
    for row in 1 2 3; do
        is_between 1e-5 "$(row_value "$row" rel_l2)" 0.01 || show "error of row $row"
        is_between 1e-6 "$(row_value "$row" peak_share)" 2 || show "share of row $row"
        is_between 1e-9 "$(row_value "$row" seconds_best)" "$(row_value "$row" seconds_median)" || show "time"
    done
    [ "$(row_value 1 policy),$(row_value 1 density),$(row_value 1 vs_dense)" = '"dense",1,1' ] || show "dense"
    [ "$(row_value 2 policy),$(row_value 2 density)" = '"random",0.5' ] || show "half"
    [ "$(row_value 3 density)" = 0.25 ] || show "one block of four at least"
    [ "$(row_value 1 stats_extra)" = null ] || show "no statistics were asked for"
}

@test "attn: lists of every kind, ragged shapes, f32, kinds of scores" {
    lacuna bench attn --ctx 100,130 --n-q 70 --heads 4 --kv-heads 2 --head-dim 24 --block 16,64 \
        --dtype f32,bf16 -t 1,2 --density 0.5 --repeat 1 --warmup 0 --json -q
    expect_rows 16
    for row in 1 8; do
        is_between 0 "$(row_value "$row" rel_l2)" 1e-5 || show "error of f32"
    done
    is_between 1e-5 "$(row_value 16 rel_l2)" 0.01 || show "error of bf16"
    [ "$(row_value 16 threads),$(row_value 16 ctx),$(row_value 16 d_head)" = "2,130,24" ] || show "order"
    for scores in random peaky rising; do
        # shellcheck disable=SC2086 # words on purpose
        lacuna bench attn $ATTN --scores "$scores" --out f32
        expect_rows 1
        is_between 1e-9 "$(row_value 1 rel_l2)" 0.01 || show "error of $scores"
        [ "$(row_value 1 scores),$(row_value 1 out)" = "\"$scores\",\"f32\"" ] || show "what was asked"
    done
}

@test "attn: statistics add a row that says what they cost" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench attn $ATTN --stats on
    expect_rows 2
    [ "$(row_value 1 stats),$(row_value 2 stats)" = '"off","on"' ] || show "which row has them"
    is_between -1 "$(row_value 2 stats_extra)" 100 || show "stats_extra"
}

@test "decode: dense rows, then one for each share of pages" {
    lacuna bench decode --prefix 1000 --queries 4 --active 2 --pages 0.1,1 --heads 4 --kv-heads 2 \
        --head-dim 32 -t 1 --repeat 2 --warm-cache --json -q
    expect_rows 5
    [ "$(row_value 1 n_q),$(row_value 2 n_q),$(row_value 3 n_q),$(row_value 4 n_q)" = 4,2,1,2 ] || show "queries"
    [ "$(row_value 1 vs_dense)" = 1 ] || show "the first row is the dense one"
    is_between 0.1 "$(row_value 4 density)" 0.15 || show "density of pages"
    [ "$(row_value 5 density)" = 1 ] || show "all pages"
    is_between 0 "$(row_value 4 ms_select)" 1000 || show "ms_select"
    is_between 0 "$(row_value 3 gb_per_s)" 1e6 || show "gb_per_s"
    is_between 0.01 "$(row_value 3 bandwidth_gb_per_s)" 1e6 || show "bandwidth_gb_per_s"
    is_between 0 "$(row_value 3 bandwidth_share)" 1e6 || show "bandwidth_share"
    for row in 1 2 3 4 5; do
        is_between 1e-5 "$(row_value "$row" rel_l2)" 0.01 || show "error of row $row"
    done
}

@test "gemm: a row for each number of rows" {
    lacuna bench gemm --m 3,16 --n 100 --k 72 --dtype f32,bf16 -t 1 --repeat 2 --json -q
    expect_rows 4
    for row in 1 2 3 4; do
        is_between 0 "$(row_value "$row" rel_l2)" 1e-5 || show "error of row $row"
    done
    [ "$(row_value 1 m),$(row_value 1 n),$(row_value 1 k),$(row_value 4 m)" = 3,100,72,16 ] || show "sizes"
}

@test "step: the parts add up to the whole" {
    lacuna bench step --shape nano --layers 2 --ctx 64 -t 1 --repeat 1 --json -q
    expect_rows 1
    awk -v whole="$(row_value 1 seconds_best)" -v a="$(row_value 1 ms_attention)" \
        -v l="$(row_value 1 ms_linear)" -v o="$(row_value 1 ms_other)" \
        'BEGIN { d = (a + l + o) / 1e3 / whole; exit !(a > 0 && l > 0 && o > 0 && d > 0.999 && d < 1.001) }' ||
        show "parts"
    is_between 1e-6 "$(row_value 1 peak_share)" 2 || show "peak_share"
}

@test "peak: units that this processor has, and no others" {
    LAC_ISA=ref lacuna bench peak -t 1 --repeat 1 --warmup 0 --json -q
    expect_rows 9
    [ "$(row_value 1 unit)" = '"f32_plain"' ] || show "plain C"
    [ "$(row_value 2 unit),$(row_value 9 unit)" = '"read_l1","write_memory"' ] || show "memory"
    is_between 0.01 "$(row_value 1 gflops)" 1e6 || show "rate"
    is_between 0.01 "$(row_value 5 gb_per_s)" 1e6 || show "bandwidth"
}

@test "generate: a row for each context, policy and number of steps, composed as it says" {
    lacuna bench generate --shape nano --ctx 256,300 --steps 4,40 --sparse off,window,sparsed \
        --skip 0.25 --select 0.3 --sparse-block 32 --generated 64 -t 1 --repeat 1 --json -q
    expect_rows 12
    [ "$(row_value 1 policy),$(row_value 1 vs_dense),$(row_value 1 ms_sparse_step)" = '"off",1,null' ] ||
        show "off"
    [ "$(row_value 3 policy),$(row_value 3 dense_steps),$(row_value 3 ms_pattern)" = '"window",0,null' ] ||
        show "window"
    [ "$(row_value 5 steps),$(row_value 5 dense_steps)" = "4,1" ] || show "dense steps of 4"
    [ "$(row_value 6 steps),$(row_value 6 dense_steps)" = "40,10" ] || show "dense steps of 40"
    [ "$(row_value 12 ctx),$(row_value 12 block)" = "300,32" ] || show "order"
    for row in 5 6 11 12; do
        is_between 0.2 "$(row_value "$row" density)" 0.6 || show "density of row $row"
        want=$(awk -v d="$(row_value "$row" ms_dense_step)" -v s="$(row_value "$row" ms_sparse_step)" \
            -v p="$(row_value "$row" ms_pattern)" -v n="$(row_value "$row" steps)" \
            -v k="$(row_value "$row" dense_steps)" \
            'BEGIN { printf "%.9g", n * d / (k * d + (n - k) * s + (p > 0 ? p : 0)) }')
        is_between "$(awk "BEGIN { print $want * 0.999 }")" "$(row_value "$row" vs_dense)" \
            "$(awk "BEGIN { print $want * 1.001 }")" || show "row $row is not composed: $want"
        [[ $(row_value "$row" composed) == *dense_steps* ]] || show "row $row does not say so"
    done
}

@test "generate: a density measured elsewhere is imposed on fidelity" {
    lacuna bench generate --shape nano --ctx 512 --steps 2 --sparse fidelity --density 0.25 \
        --sparse-block 32 --generated 128 -t 1 --repeat 1 --json -q
    expect_rows 1
    is_between 0.2 "$(row_value 1 density)" 0.3 || show "density"
    [ "$(row_value 1 policy),$(row_value 1 density_from)" = '"fidelity","imposed"' ] || show "names"
}

BLOCK="--shape nano --layers 2 -t 1 --repeat 2 --json -q"

@test "block: a row for each prefix, batch and policy, beside dense of the same run" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench block $BLOCK --prefix 1024,2048 --block-length 16 --active 5 --budget 0.1 --batch 1,2 \
        --sparse losa,quest,off
    expect_rows 12
    [ "$(row_value 1 policy),$(row_value 2 policy),$(row_value 3 policy)" = '"losa","quest","off"' ] || show "order"
    [ "$(row_value 1 shape),$(row_value 1 prefix),$(row_value 1 batch)" = '"nano",1024,1' ] || show "names"
    [ "$(row_value 12 prefix),$(row_value 12 batch),$(row_value 12 policy)" = '2048,2,"off"' ] || show "order"
    [ "$(row_value 1 rows_read),$(row_value 2 rows_read),$(row_value 3 rows_read)" = 5,16,16 ] || show "rows"
    [ "$(row_value 3 density),$(row_value 3 vs_dense_attention),$(row_value 3 rel_l2)" = 1,1,0 ] || show "off"
    [ "$(row_value 3 union_inflation),$(row_value 3 policy_bytes)" = null,0 ] || show "off selects nothing"
    [ "$(row_value 1 layers_measured),$(row_value 1 layers)" = 2,4 ] || show "layers"
    for row in 1 2 4 5 7 8 10 11; do
        is_between 1 "$(row_value "$row" union_inflation)" 10 || show "union of row $row"
        is_between 0.02 "$(row_value "$row" density)" 0.95 || show "density of row $row"
        is_between 1e-6 "$(row_value "$row" rel_l2)" 0.9 || show "error of row $row"
        is_between 1e-6 "$(row_value "$row" ms_attention)" "$(row_value "$row" ms_step)" || show "times of row $row"
        want=$(awk -v d="$(row_value "$row" ms_attention_dense)" -v s="$(row_value "$row" ms_attention)" \
            'BEGIN { printf "%.9g", d / s }')
        is_between "$(awk "BEGIN { print $want * 0.999 }")" "$(row_value "$row" vs_dense_attention)" \
            "$(awk "BEGIN { print $want * 1.001 }")" || show "ratio of row $row is not $want"
        [[ $(row_value "$row" composed) == *"scaled to layers"* ]] || show "row $row does not say so"
    done
}

@test "block: what every policy reads, in rows, keys and bytes" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench block $BLOCK --prefix 2048 --active 0.25 --budget 256 --page 32 --dtype f32 \
        --sparse losa,quest,mage,sparsed,flashblock,off
    expect_rows 6
    [ "$(row_value 1 active),$(row_value 1 rows_read),$(row_value 1 budget),$(row_value 1 block)" = 4,4,256,32 ] ||
        show "losa"
    for pair in 1:blocks 2:pages 3:columns 6:none; do
        [[ $(row_value "${pair%:*}" selector) == *"${pair#*:}"* ]] || show "selector of row $pair"
    done
    [ "$(row_value 3 union_inflation)" = 1 ] || show "mage chooses once for all rows"
    is_between 0.12 "$(row_value 4 density)" 0.16 || show "sparsed reads its budget"
    [ "$(row_value 5 rows_read)" = 16 ] || show "flashblock: four new tokens, everything is read again"
    for row in 1 2 3 4; do
        is_between 1 "$(row_value "$row" bytes_read)" "$(row_value 6 bytes_read)" || show "bytes of row $row"
        is_between 1 "$(row_value "$row" policy_bytes)" 1e9 || show "memory of row $row"
    done
    # keys and values of 4 heads of 32 in f32: 1 KiB a position and layer
    [ "$(row_value 6 bytes_read)" = $(((2048 + 16) * 1024 * 4)) ] || show "bytes of dense"
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench block $BLOCK --prefix 2048 --sparse flashblock --refresh-tokens 0
    expect_rows 1
    [ "$(row_value 1 rows_read),$(row_value 1 union_inflation)" = 0,null ] || show "flashblock reads nothing"
}

@test "block: queries that agree read fewer keys together" {
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench block $BLOCK --prefix 4096 --budget 0.1 --sparse quest --agreement 0
    expect_rows 1
    apart=$(row_value 1 union_inflation)
    # shellcheck disable=SC2086 # words on purpose
    lacuna bench block $BLOCK --prefix 4096 --budget 0.1 --sparse quest --agreement 1
    expect_rows 1
    is_between 1 "$(row_value 1 union_inflation)" "$(awk "BEGIN { print $apart / 2 }")" || show "$apart apart"
}

@test "block: what makes no sense is refused by flag and value" {
    for value in 0 -16 x 1.5 "" 32,; do
        lacuna bench block --prefix "$value"
        expect_error 2 "--prefix: '$value'"
        lacuna bench block --batch "$value"
        expect_error 2 "--batch: '$value'"
    done
    lacuna bench block --prefix 8192,1000 --block-length 16
    expect_error 2 "--prefix: 1000" "--block-length 16"
    lacuna bench block --batch 257
    expect_error 2 "--batch: '257'" "256"
    for value in 0 -1 x 2.5 nan; do
        lacuna bench block --budget "$value"
        expect_error 2 "--budget: '$value'"
        lacuna bench block --active "$value"
        expect_error 2 "--active: '$value'"
    done
    lacuna bench block --active 17
    expect_error 2 "--active 17" "--block-length 16"
    lacuna bench block --prefix 4096 --budget 4096
    expect_error 2 "--budget: 4096" "4096"
    lacuna bench block --prefix 256
    expect_error 2 "--budget: 512" "256"
    for value in 0 513 x; do
        lacuna bench block --block-length "$value"
        expect_error 2 "--block-length: '$value'"
    done
    for value in 0 65 x; do
        lacuna bench block --layers "$value"
        expect_error 2 "--layers: '$value'"
    done
    for value in -1 5 x; do
        lacuna bench block --agreement "$value"
        expect_error 2 "--agreement: '$value'"
    done
    lacuna bench block --page 48
    expect_error 2 "--page: '48'" "16, 32 or 64"
    lacuna bench block --selector rows
    expect_error 2 "--selector: 'rows'" "columns"
    lacuna bench block --plan-group row
    expect_error 2 "--plan-group: 'row'"
    lacuna bench block --select-every 0
    expect_error 2 "--select-every"
    lacuna bench block --refresh-tokens -1
    expect_error 2 "--refresh-tokens: '-1'"
    lacuna bench block --sparse losa,window
    expect_error 2 "--sparse: 'window'" "flashblock"
    lacuna bench block --sparse losa,
    expect_error 2 "--sparse: ''"
    lacuna bench block --shape sdar
    expect_error 2 "--shape: 'sdar'" "sdar-8b"
    lacuna bench block --dtype f32,bf16
    expect_error 2 "--dtype"
    lacuna bench block -t 0
    expect_error 2 "--threads: '0'"
    lacuna bench block --json --csv
    expect_error 2 "--json and --csv"
    lacuna bench block --prefix 8388608 --batch 64 -t 1 -q
    expect_error 4 "MiB"
}

@test "bench: CSV has one header, a table is Markdown, progress is on stderr" {
    lacuna bench gemm --m 1,2 --n 64 --k 64 -t 1 --repeat 1 --csv -q
    expect_ok
    [ "$(wc -l <"$SCRATCH/out")" -eq 3 ] || show "expected a header and two rows"
    [[ $OUT == "$(echo "$KEYS" | tr ' ' ,),"* ]] || show "header"
    [ "$(awk -F, '{ print NF }' "$SCRATCH/out" | sort -u | wc -l)" -eq 1 ] || show "columns"
    [ -z "$ERR" ] || show "quiet"
    lacuna bench gemm --m 1,2 --n 64 --k 64 -t 1 --repeat 1
    expect_ok
    [ "$(grep -c '^|' "$SCRATCH/out")" -eq 4 ] || show "expected head, rule and two rows"
    [ "$(grep '^|' "$SCRATCH/out" | awk '{ print length }' | sort -u | wc -l)" -eq 1 ] || show "ragged"
    [[ $ERR == "lacuna bench gemm: "* ]] || show "no progress"
}

@test "bench: what makes no sense is refused by flag and value" {
    for value in 0 4096, "" x 1.5 -1; do
        lacuna bench attn --ctx "$value"
        expect_error 2 "--ctx: '$value'" "whole numbers from 1"
    done
    lacuna bench attn --density 0.5,1.5
    expect_error 2 "--density: '0.5,1.5'"
    lacuna bench attn --heads 8 --kv-heads 3
    expect_error 2 "--heads 8" "--kv-heads 3"
    lacuna bench attn --head-dim 12
    expect_error 2 "--head-dim: 12" "8"
    lacuna bench attn --dtype f16
    expect_error 2 "--dtype: 'f16'" "bf16"
    lacuna bench attn --scores flat
    expect_error 2 "--scores: 'flat'" "rising"
    lacuna bench attn --stats on --block 48
    expect_error 2 "--block 48"
    lacuna bench attn --json --csv
    expect_error 2 "--json and --csv"
    lacuna bench peak -t 0
    expect_error 2 "--threads: '0'"
    lacuna bench peak --repeat 0
    expect_error 2 "--repeat: '0'"
    lacuna bench decode --page 48
    expect_error 2 "--page: 48" "16, 32, 64"
    lacuna bench decode --active 17
    expect_error 2 "--active 17" "--queries 16"
    lacuna bench step --shape gpt
    expect_error 2 "--shape: 'gpt'" "llada-8b"
    lacuna bench generate --sparse sparsed,losing
    expect_error 2 "--sparse: 'losing'" "fidelity"
    lacuna bench generate --sparse sparsed,
    expect_error 2 "--sparse: ''"
    for value in 0 -1 1.5 x; do
        lacuna bench generate --select "$value"
        expect_error 2 "--select: '$value'"
        lacuna bench generate --sparse fidelity --density "$value"
        expect_error 2 "--density: '$value'"
    done
    lacuna bench generate --skip 1
    expect_error 2 "--skip: '1'"
    lacuna bench generate --sparse-block 48
    expect_error 2 "--sparse-block: '48'"
    lacuna bench generate --density 0.2
    expect_error 2 "--density" "fidelity"
    lacuna bench generate --sparse fidelity --density 0.2 --fidelity 0.9
    expect_error 2 "--density and --fidelity"
    lacuna bench generate --ctx 1
    expect_error 2 "--ctx: '1'"
    lacuna bench gemm --m 16 stray
    expect_error 2 "'stray'"
}

@test "bench: what does not fit into memory is refused before it is taken" {
    lacuna bench attn --ctx 16777216 --heads 1024 -t 1 -q
    expect_error 4 "MiB"
    lacuna bench decode --prefix 16777216 --kv-heads 32 -t 1 -q
    expect_error 4 "MiB"
    lacuna bench gemm --m 1048576 --n 1048576 --k 1048576 -t 1 -q
    expect_error 4 "MiB"
    lacuna bench step --layers 1024 -t 1 -q
    expect_error 4 "MiB"
    lacuna bench generate --ctx 16777216 -t 1 -q
    expect_error 4 "MiB"
}
