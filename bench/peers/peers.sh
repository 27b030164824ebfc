#!/bin/sh
# peers.sh: our attention and that of other programs, taking turns in one run, as CSV on stdout. In
# each round ours, PyTorch and ggml run once each (warm-up, then --repeat timed calls); a row holds
# the best and median over the rounds and the spread of peer / ours. Peers that are not installed
# are left out, with the reason on stderr; exit 77 (skip) where none is.
#   usage: bench/peers/peers.sh [options] > bench/results/peers_attn.csv
#     --quick            ctx 1024 and 4096, 2 heads, one thread, 2 rounds of 2 calls, dense only:
#                        under two minutes
#     --rounds N         turns of each program (5)
#     --repeat N         timed calls in a turn (5; four times as many at ctx up to 1024)
#     --ctx "N ..."      contexts (1024 4096 8192)
#     --heads N          heads of 128 elements (8; 2 at ctx above 4096)
#     --dtype "T ..."    element types (bf16 f32)
#     --threads "N ..."  numbers of threads (1 2); those above nproc are left out
#     --isa "NAME ..."   time ours at these levels of LAC_ISA as well, each in rows of its own
#     --peers "P ..."    which peers (torch ggml)
#   environment: LACUNA the program (build/release/lacuna), LAC_ISA our instruction set, PYTHON the
#     interpreter that has torch (python3), GGML_DIR a folder with ggml's include/ and built shared
#     libraries (else pkg-config is asked), CC the compiler (cc)
set -eu
cd "$(dirname "$0")/../.."
here=bench/peers
lacuna=${LACUNA:-build/release/lacuna}
python=${PYTHON:-python3}
tab=$(printf '\t')

say() { echo "peers: $*" >&2; }
die() { say "$*"; exit 1; }

export LC_ALL=C
rounds='' repeat='' contexts='' n_heads='' threads='' isas='' sparse=0.3
dtypes='bf16 f32' peers='torch ggml'
while [ $# -gt 0 ]; do
    case $1 in
    --quick)
        rounds=${rounds:-2} repeat=${repeat:-2} contexts=${contexts:-1024 4096}
        n_heads=${n_heads:-2} threads=${threads:-1} sparse='' ;;
    --help | -h) sed -n '2,/^set/p' "$here/peers.sh" | sed -n 's/^# \{0,1\}//p'; exit 0 ;;
    --rounds | --repeat | --ctx | --heads | --dtype | --threads | --isa | --peers)
        [ $# -ge 2 ] || die "$1 needs a value"
        case $1 in
        --rounds) rounds=$2 ;;
        --repeat) repeat=$2 ;;
        --ctx) contexts=$2 ;;
        --heads) n_heads=$2 ;;
        --dtype) dtypes=$2 ;;
        --threads) threads=$2 ;;
        --isa) isas=$2 ;;
        --peers) peers=$2 ;;
        esac
        shift ;;
    *) die "unknown option $1; --help lists them" ;;
    esac
    shift
done
: "${rounds:=5}" "${repeat:=5}" "${contexts:=1024 4096 8192}" "${threads:=1 2}"
for number in $rounds $repeat $contexts $n_heads $threads; do
    case $number in *[!0-9]* | 0*) die "$number is not a positive number" ;; esac
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$scratch/inductor}"
: >"$scratch/told"

# field JSON KEY: the value of a key of a flat object.
field() { printf '%s' "$1" | tr ',{}' '\n\n\n' | sed -n "s/^ *\"$2\" *: *\"\{0,1\}\([^\"]*\)\"\{0,1\} *\$/\1/p" | head -n 1; }

# tell_once FILE: the lines of FILE that were not told before.
tell_once() {
    grep -vxF -f "$scratch/told" "$1" >"$scratch/new" || true
    cat "$scratch/new" >&2
    cat "$scratch/new" >>"$scratch/told"
}

machine() {
    { sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null || true
      sysctl -n machdep.cpu.brand_string 2>/dev/null || true
      uname -m; } | head -n 1 | tr ',' ' '
}

wants() { case " $peers " in *" $1 "*) ;; *) return 1 ;; esac; }

find_torch() {
    wants torch || return 1
    "$python" -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("torch"))' 2>/dev/null &&
        return
    say "torch skipped: $python is not there or does not know it"
    return 1
}

# with_ggml COMMAND...: runs it where ggml's libraries are found.
with_ggml() {
    env LD_LIBRARY_PATH="$ggml_libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" \
        DYLD_LIBRARY_PATH="$ggml_libs${DYLD_LIBRARY_PATH:+:$DYLD_LIBRARY_PATH}" "$@"
}

# Leaves the compiled driver in the scratch folder.
find_ggml() {
    wants ggml || return 1
    if [ -n "${GGML_DIR:-}" ]; then
        header=$(find "$GGML_DIR/" -name ggml.h -path '*include*' 2>/dev/null | head -n 1)
        library=$(find "$GGML_DIR/" \( -name libggml.so -o -name libggml.dylib \) 2>/dev/null | head -n 1)
        if [ -z "$header" ] || [ -z "$library" ]; then
            say "ggml skipped: no include/ggml.h or no shared libggml under $GGML_DIR"
            return 1
        fi
        ggml_libs=$(cd "$(dirname "$library")" && pwd)
        ggml_includes=$(dirname "$header")
    elif pkg-config --exists ggml 2>/dev/null; then
        ggml_libs=$(pkg-config --variable=libdir ggml)
        ggml_includes=$(pkg-config --variable=includedir ggml)
    else
        say "ggml skipped: GGML_DIR is not set and pkg-config does not know it"
        return 1
    fi
    if with_ggml "${CC:-cc}" -std=c11 -O2 "-I$ggml_includes" "$here/ggml_attn.c" -o "$scratch/ggml_attn" \
        "-L$ggml_libs" -lggml -lggml-base -lm >"$scratch/build" 2>&1 &&
        with_ggml "$scratch/ggml_attn" --ctx 64 --heads 1 >"$scratch/build" 2>&1; then
        return
    fi
    say "ggml skipped: its driver does not build or run: $(grep -m 1 -i error "$scratch/build" || tail -n 1 "$scratch/build")"
    return 1
}

# ours LEVEL OPTIONS...: one line of JSON of `lacuna bench attn`; LEVEL env leaves LAC_ISA as it is.
ours() {
    level=$1
    shift
    if [ "$level" != env ]; then
        LAC_ISA=$level "$lacuna" bench attn "$@" --stats off --json
    else
        "$lacuna" bench attn "$@" --stats off --json
    fi 2>"$scratch/errors" | grep '^{' | tail -n 1
}

# Levels that differ: one that this processor or build lacks reports another's name.
find_levels() {
    levels='' seen=''
    for level in env $isas; do
        isa=$(field "$(ours "$level" --ctx 256 --heads 1 --kv-heads 1 --head-dim 128 --dtype bf16 -t 1 \
            --block 128 --density 1.0 --repeat 1)" isa)
        [ -n "$isa" ] || die "$lacuna bench attn does not run: $(tail -n 1 "$scratch/errors")"
        case " $seen " in
        *" $isa "*) say "LAC_ISA=$level left out: it reports $isa, which is there already" ;;
        *) levels="$levels $level" seen="$seen $isa" ;;
        esac
    done
}

# record LEVEL ROUND JSON: one measurement of this case; LEVEL - for a peer.
record() {
    peer=$(field "$3" peer) variant=$(field "$3" variant) version=$(field "$3" version)
    if [ "$1" != - ]; then
        peer=lacuna variant=attn version=$ours_version
    fi
    [ "$density" = 1.0 ] || variant="$variant-$density"
    for value in "$1" "$2" "$peer" "$variant" "$version" "$(field "$3" isa)" "$(field "$3" density)" \
        "$(field "$3" seconds_best)" "$(field "$3" seconds_median)" "$(field "$3" rel_l2)" \
        "$(field "$3" ms_pack)"; do
        printf '%s\t' "${value:--}"
    done >>"$scratch/case"
    echo >>"$scratch/case"
}

# turn OPTIONS...: one round of everything.
turn() {
    for level in $levels; do
        json=$(ours "$level" --ctx "$ctx" --heads "$heads" --kv-heads "$heads" --head-dim 128 \
            --dtype "$dtype" -t "$n_threads" --block 128 --density "$density" --repeat "$calls")
        [ -n "$json" ] || die "$lacuna bench attn failed: $(tail -n 1 "$scratch/errors")"
        record "$level" "$round" "$json"
    done
    set -- --ctx "$ctx" --heads "$heads" --kv-heads "$heads" --head-dim 128 --dtype "$dtype" \
        --threads "$n_threads" --repeat "$calls"
    : >"$scratch/lines"
    : >"$scratch/errors"
    [ -z "$torch" ] || "$python" "$here/torch_attn.py" "$@" --density "$density" --block 128 \
        >>"$scratch/lines" 2>>"$scratch/errors" ||
        echo "torch_attn: ended with status $?" >>"$scratch/errors"
    [ -z "$ggml" ] || [ "$density" != 1.0 ] || with_ggml "$scratch/ggml_attn" "$@" \
        >>"$scratch/lines" 2>>"$scratch/errors" ||
        echo "ggml_attn: ended with status $?" >>"$scratch/errors"
    grep -E '^(torch|ggml)_attn: ' "$scratch/errors" >"$scratch/notes" || true
    tell_once "$scratch/notes"
    while read -r json; do record - "$round" "$json"; done <"$scratch/lines"
}

# Rows of this case: each peer against each level of ours, and each level's own.
rows() {
    awk -F "$tab" -v before="$today,$cpu" -v sizes="$ctx,$heads,$heads,128,$dtype,$n_threads" \
        -v flops="$ctx $heads 128" -v levels="$levels" '
        function sort(list, n, i, j, x) {
            for (i = 2; i <= n; i++) {
                x = list[i]
                for (j = i - 1; j >= 1 && list[j] > x; j--) list[j + 1] = list[j]
                list[j + 1] = x
            }
        }
        function middle(list, n) { return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }
        function row(id, level, r, n, i, key, best, half, ratio, work) {
            for (r = 1; r <= n_rounds; r++) {
                key = id SUBSEP r
                if (!(key in seconds) || !((level SUBSEP r) in our_seconds)) continue
                n++
                best[n] = seconds[key]
                half[n] = medians[key]
                ratio[n] = seconds[key] / our_seconds[level, r]
            }
            if (!n) return
            sort(best, n); sort(half, n); sort(ratio, n)
            split(flops, work, " ")
            printf "%s,%s,%s,%s,%s,%d,%.6g,%.6g,%.2f,%s,%s,%.6g,%.3f,%.3f,%.3f,%s\n", before, peer[id],
                variant[id], version[id], sizes, n, best[1], middle(half, n),
                4 * work[1] * work[1] * work[2] * work[3] * density[id] / best[1] / 1e9, error[id],
                isa[level], our_best[level], ratio[1], middle(ratio, n), ratio[n],
                (level in our_pack) ? sprintf("%.6g", our_pack[level]) : ""
        }
        {
            id = $1 == "-" ? $3 " " $4 : $1
            if (!(id in peer)) ids[++n_ids] = id
            peer[id] = $3; variant[id] = $4; version[id] = $5; density[id] = $7
            if (!(id in error) || $10 + 0 > error[id] + 0) error[id] = $10
            seconds[id, $2] = $8 + 0; medians[id, $2] = $9 + 0
            if ($2 > n_rounds) n_rounds = $2 + 0
            if ($1 == "-") next
            isa[id] = $6
            our_seconds[id, $2] = $8 + 0
            if (!(id in our_best) || $8 + 0 < our_best[id]) our_best[id] = $8 + 0
            if ($11 != "-" && (!(id in our_pack) || $11 / 1000 < our_pack[id])) our_pack[id] = $11 / 1000
        }
        END {
            n_levels = split(levels, level, " ")
            for (l = 1; l <= n_levels; l++) {
                row(level[l], level[l])
                for (i = 1; i <= n_ids; i++) if (!(ids[i] in our_best)) row(ids[i], level[l])
            }
        }' "$scratch/case"
}

# Warns where the blocks kept differ by more than 2%: such rows compare different work.
check_density() {
    awk -F "$tab" '{ if (!low || $7 < low) low = $7 + 0; if ($7 > high) high = $7 + 0 }
        END { if (high > 1.02 * low) printf "peers: densities differ, %g to %g\n", low, high }' \
        "$scratch/case" >&2
}

# measure: all rounds of the case ctx, heads, dtype, n_threads, density.
measure() {
    calls=$repeat
    [ "$ctx" -gt 1024 ] || calls=$((4 * repeat))
    say "ctx $ctx, $heads heads, $dtype, threads $n_threads, density $density"
    : >"$scratch/case"
    for round in $(seq "$rounds"); do turn; done
    check_density
    rows
}

[ -x "$lacuna" ] || die "$lacuna is not there: build it, or name it in LACUNA"
torch='' ggml=''
if find_torch; then torch=yes; fi
if find_ggml; then ggml=yes; fi
[ -n "$torch$ggml" ] || { say "no peer to take turns with"; exit 77; }
find_levels
ours_version=$("$lacuna" --version 2>/dev/null | sed -n '1s/^[^0-9]*\([0-9][^ ,]*\).*/\1/p')
today=$(date +%Y-%m-%d) cpu=$(machine)
n_processors=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)

echo "date,machine,peer,variant,version,ctx,n_heads,n_kv_heads,d_head,dtype,threads,rounds,seconds_best,seconds_median,gflops,rel_l2,ours_isa,ours_seconds_best,ratio_min,ratio_median,ratio_max,ours_seconds_pack"
for n_threads in $threads; do
    if [ "$n_threads" -gt "$n_processors" ]; then
        say "threads $n_threads left out: $n_processors processors may be used"
        continue
    fi
    for ctx in $contexts; do
        heads=8
        [ "$ctx" -le 4096 ] || heads=2
        heads=${n_heads:-$heads}
        for dtype in $dtypes; do
            density=1.0
            measure
            if [ -z "$sparse" ] || [ -z "$torch" ] || [ "$ctx" -lt 4096 ]; then continue; fi
            density=$sparse
            measure
        done
    done
done
