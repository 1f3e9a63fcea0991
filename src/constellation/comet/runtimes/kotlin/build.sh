# Kotlin: the function's classes, the worker's and Kotlin's own library.
. /run/java/fetch.sh
cp -R /src/. /build/out/
chmod -R u+w /build/out
mkdir -p /build/out/lib
if [ -f /src/gradle.lockfile ]; then fetch_locked /src/gradle.lockfile /build/out/lib; fi
cp /run/cache/kotlin-stdlib-*.jar /run/cache/worker.jar /build/out/lib/
class_path=$(find /build/out/lib -name '*.jar' | tr '\n' :)
java $JAVA_FLAGS -cp '/run/cache/*' org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -nowarn -jvm-target 17 \
    -cp "$class_path" -d /build/out/function.jar /src
