# Java ahead of time: the function's classes and the worker's as one program. An image holds what can be reached from its
# main method, so it is told what the worker looks up by name: the handler's class, and what reflect.json names of Java.
. /run/java/fetch.sh
cp -R /src/. /build/out/
chmod -R u+w /build/out
if [ -f /src/gradle.lockfile ]; then fetch_locked /src/gradle.lockfile /build/out/lib; fi
mkdir /build/classes
find /src /run/java/constellation -name '*.java' > /build/tmp/sources
sed -i 's/.*/"&"/' /build/tmp/sources
javac -encoding UTF-8 -g -nowarn -cp '/build/out/lib/*' -d /build/classes @/build/tmp/sources
handler=$(printf '%s' "$HANDLER_MODULE" | tr / .)
{
    printf '[{"name": "%s", "allDeclaredMethods": true}' "$handler"
    # Records, of which an answer is made by their accessors
    (cd /build/classes && find . -name '*.class') | sed 's|^\./||; s|\.class$||; s|/|.|g' | grep -v '^constellation\.' |
        while read -r class; do printf ',\n {"name": "%s", "allDeclaredMethods": true, "allRecordComponents": true}' "$class"; done
    printf ',\n'
    tail -c +2 /run/recipe/reflect.json
} > /build/tmp/reflect.json
native-image --no-fallback -g -O2 -H:+UnlockExperimentalVMOptions -H:ReflectionConfigurationFiles=/build/tmp/reflect.json \
    --add-opens=java.base/java.io=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED \
    --parallelism="$BUILD_JOBS" -cp '/build/classes:/build/out/lib/*' -o /build/tmp/bootstrap constellation.Worker
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
