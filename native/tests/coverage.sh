#!/bin/sh
# coverage.sh BUILD SOURCE...: prints the lines of each source that the tests reached; fails below 95 %.
build=$1
shift
failed=0
for source in "$@"; do
    object=$build/${source%.c}.o
    share=$(gcov -n -o "$object" "$source" 2>/dev/null | awk -v name="$source" '
        index($0, name "\047") { found = 1 }
        found && /^Lines executed/ { sub(/^Lines executed:/, ""); print; exit }')
    echo "$source: ${share:-not measured}"
    [ "${share%%.*}" -ge 95 ] 2>/dev/null || failed=1
done
exit $failed
