#!/bin/sh
# merge.sh BUILD FUZZER...: keeps in fuzz/corpus, of all that runs found, as few and as short inputs as reach what no seed reaches.
# Seeds have names and stay; what was found is named by its hash (40 digits) and chosen anew each time.
build=$1
shift
found='????????????????????????????????????????'
for fuzzer in "$@"; do
    name=${fuzzer##*/}
    mkdir -p "$build/corpus/$name"
    find "fuzz/corpus/$name" -name "$found" -exec mv -t "$build/corpus/$name" {} +
    # Edges alone, not how often each was passed: a run finds that again at once. No input above 2 KiB.
    "$fuzzer" -merge=1 -use_counters=0 -max_len=2048 "fuzz/corpus/$name" "$build/corpus/$name" >"$build/$name.merge.log" 2>&1 ||
        { tail -20 "$build/$name.merge.log"; exit 1; }
    seeds=$(find "fuzz/corpus/$name" -type f ! -name "$found" | wc -l)
    echo "fuzz-merge: ${name#fuzz_}: $seeds seeds, $(find "fuzz/corpus/$name" -name "$found" | wc -l) found"
done
