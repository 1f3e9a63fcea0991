#!/bin/sh
# run.sh BUILD CLOCK SECONDS FUZZER...: runs each until SECONDS have passed (CLOCK is "wall") or it has used as many of CPU time ("cpu").
# Begins with fuzz/corpus and what BUILD/corpus has of earlier runs; the words of fuzz/words, where there are some, are put into inputs.
# A line each tells runs, edges reached, CPU seconds of the fuzzer (user and system) and the verdict.
build=$1 clock=$2 seconds=$3
shift 3

# What the shell's children used so far; `times` prints user and system time of them in its second line.
children_seconds() {
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, /[ms]/); sum += part[1] * 60 + part[2] } printf "%.2f", sum }'
}

for fuzzer in "$@"; do
    name=${fuzzer##*/} runs=0 used=0 verdict=clean
    log=$build/$name.log words=fuzz/words/$name
    mkdir -p "$build/corpus/$name"
    set -- -max_len=4096 "-artifact_prefix=$build/$name-"
    [ ! -f "$words" ] || set -- "$@" "-dict=$words"
    # A round of the seconds that are left: on a busy machine it uses less CPU than that, and another follows.
    while :; do
        left=$(awk -v all="$seconds" -v used="$used" 'BEGIN { left = all - used; print left < 1 ? 1 : int(left + 0.5) }')
        (
            "$fuzzer" "-max_total_time=$left" "$@" "$build/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1
            status=$?
            times >"$build/$name.times"
            exit $status
        ) || verdict=FAILED
        runs=$((runs + $(grep -Eo '[0-9]+ runs' "$log" | tail -1 | grep -Eo '[0-9]+' || echo 0)))
        used=$(awk -v a="$used" -v b="$(children_seconds <"$build/$name.times")" 'BEGIN { printf "%.2f", a + b }')
        [ $verdict = clean ] && [ "$clock" = cpu ] || break
        awk -v all="$seconds" -v used="$used" 'BEGIN { exit used < all }' && break
    done
    [ $verdict = clean ] || tail -40 "$log"
    edges=$(grep -Eo 'cov: [0-9]+' "$log" | tail -1 | grep -Eo '[0-9]+')
    echo "fuzz: ${name#fuzz_}: $runs runs${edges:+, $edges edges}, $used CPU seconds, $verdict"
    [ $verdict = clean ] || exit 1
done
