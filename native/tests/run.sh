#!/bin/sh
# Runs each test program; tells which failed, and fails with them. Exit 77 is "this host cannot", with the reason said.
passed=0 failed=0 skipped=0
for test in "$@"; do
    "$test"
    case $? in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)); echo "FAILED: $test" ;;
    esac
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
