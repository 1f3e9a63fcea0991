#!/bin/sh
# run.sh BUILD CLOCK SECONDS FUZZER...: runs each until SECONDS have passed (CLOCK is "wall") or it has used as many of CPU time ("cpu").
# Begins with fuzz/corpus and what BUILD/corpus has of earlier runs; the words of fuzz/words, where there are some, are put into inputs.
# A line each tells runs, edges reached, CPU seconds of the fuzzer (user and system) and the verdict.
# What a fuzzer has used by the CPU's clock is kept beside it, round by round: the same program, started again after it was
# interrupted, goes on where it was. Another program, built from other sources, begins anew.
build=$1 clock=$2 seconds=$3
shift 3
round=300     # seconds of a CPU run that a crash of the machine can lose
interrupted=72 # what libFuzzer exits with after SIGINT or SIGTERM
killed=137     # what the shell says of SIGKILL, which comes from outside: what the fuzzer finds ends it with a status of its own

# What the shell's children used so far; `times` prints user and system time of them in its second line.
children_seconds() {
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += part[1] * 60 + part[2] } printf "%.2f", sum }'
}

# Of a log: the fuzzer says "N runs" at its end, and "#N" now and then before.
count_of_runs() {
    awk '/^#[0-9]+/ { runs = substr($1, 2) } match($0, /[0-9]+ runs/) { runs = substr($0, RSTART, RLENGTH - 5) } END { print runs + 0 }'
}

trap : INT TERM # the fuzzer hears it, too, and ends; what it has used is then written down
for fuzzer in "$@"; do
    name=${fuzzer##*/} runs=0 used=0 verdict=clean
    log=$build/$name.log words=fuzz/words/$name spent=$build/$name.spent
    mkdir -p "$build/corpus/$name"
    set -- -max_len=4096 "-artifact_prefix=$build/$name-"
    [ ! -f "$words" ] || set -- "$@" "-dict=$words"
    program=$(cksum <"$fuzzer")
    if [ "$clock" = cpu ] && [ -f "$spent" ] && [ "$(sed -n 2p "$spent")" = "$program" ]; then
        read -r used runs <"$spent"
    fi
    # On a busy machine a round uses less CPU than its seconds, and another follows.
    while awk -v all="$seconds" -v used="$used" 'BEGIN { exit used >= all }'; do
        left=$(awk -v all="$seconds" -v used="$used" 'BEGIN { left = all - used; print left < 1 ? 1 : int(left + 0.5) }')
        [ "$clock" = wall ] || [ "$left" -le $round ] || left=$round
        (
            "$fuzzer" "-max_total_time=$left" "$@" "$build/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1
            status=$?
            times >"$build/$name.times"
            exit $status
        )
        case $? in
        0) ;;
        $interrupted | $killed) verdict=interrupted ;;
        *) verdict=FAILED ;;
        esac
        runs=$((runs + $(count_of_runs <"$log")))
        used=$(awk -v a="$used" -v b="$(children_seconds <"$build/$name.times")" 'BEGIN { printf "%.2f", a + b }')
        [ $verdict != FAILED ] || break
        [ "$clock" = cpu ] || break
        printf '%s %s\n%s\n' "$used" "$runs" "$program" >"$spent"
        [ $verdict = clean ] || break
    done
    [ $verdict != FAILED ] || { rm -f "$spent"; tail -40 "$log"; }
    edges=$(grep -Eo 'cov: [0-9]+' "$log" | tail -1 | grep -Eo '[0-9]+')
    echo "fuzz: ${name#fuzz_}: $runs runs${edges:+, $edges edges}, $used CPU seconds, $verdict"
    [ $verdict = clean ] || exit 1
done
