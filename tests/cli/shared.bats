#!/usr/bin/env bats
# shared.bats: the program on a machine with other work: what it takes of the processors is what it
# needs, whoever else runs and whatever number of threads was asked for.

load helpers

# Two cores of those this test may use, or the only one.
cores() {
    taskset -cp $$ | sed 's/.*: //' | tr , '\n' |
        awk -F- '{ for (i = $1; i <= ($2 == "" ? $1 : $2) && n < 2; i++) printf "%s%d", n++ ? "," : "", i }'
}

# Processor time, in hundredths of a second, of $1 runs at once on two cores, with $2 threads each;
# 0 threads: the default.
processor_time() {
    local times
    times=$( { TIMEFORMAT='%U %S'; time {
        for ((i = 0; i < $1; i++)); do
            taskset -c "$(cores)" "$LACUNA" run -m "$MODEL" -p 'Once upon' -n 96 -q \
                $([ "$2" = 0 ] || echo "-t $2") >"$SCRATCH/out.$1.$2.$i" &
        done
        wait
    }; } 2>&1 )
    awk -v t="$times" 'BEGIN { split(t, part, " "); printf "%d\n", (part[1] + part[2]) * 100 + 0.5 }'
}

@test "two runs at once take little more than the same work by single threads" {
    alone=$(processor_time 2 1)
    together=$(processor_time 2 0)
    echo "two runs on one thread each: $alone, by default: $together hundredths of a second" >&2
    [ "$alone" -gt 0 ]
    [ "$together" -le $((3 * alone + 10)) ]
    cmp "$SCRATCH/out.2.1.0" "$SCRATCH/out.2.0.1"
}

@test "more threads than cores are allowed, and take little more" {
    alone=$(processor_time 1 1)
    many=$(processor_time 1 32)
    echo "one thread: $alone, 32: $many hundredths of a second" >&2
    [ "$many" -le $((6 * alone + 30)) ]
    cmp "$SCRATCH/out.1.1.0" "$SCRATCH/out.1.32.0"
}

@test "threads of the program are those asked for, whatever OpenMP is told" {
    [ -d "/proc/$$/task" ] || skip "no /proc"
    OMP_NUM_THREADS=4 LAC_ISA=avx2 "$LACUNA" run -m "$MODEL" -p 'Once upon' -n 256 -q -t 2 \
        >"$SCRATCH/text" 3>&- &
    pid=$!
    threads=0
    while tasks=("/proc/$pid/task/"*) && [ -d "${tasks[0]}" ] && kill -0 "$pid" 2>/dev/null; do
        [ "${#tasks[@]}" -le "$threads" ] || threads=${#tasks[@]}
    done
    wait "$pid"
    echo "threads: $threads" >&2
    [ "$threads" -eq 2 ]
}
