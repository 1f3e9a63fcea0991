# Kotlin: the function's classes and Kotlin's own library.
. /run/java/fetch.sh
cp -R /src/. /build/out/
chmod -R u+w /build/out
mkdir -p /build/out/lib
if [ -f /src/gradle.lockfile ]; then fetch_locked /src/gradle.lockfile /build/out/lib; fi
cp /run/cache/kotlin-stdlib-*.jar /build/out/lib/
class_path=$(find /build/out/lib -name '*.jar' | tr '\n' :)
java $JAVA_FLAGS -cp '/run/cache/*' org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -nowarn -jvm-target 17 \
    -Xstring-concat=inline -Xlambdas=class -Xsam-conversions=class -cp "$class_path/run/cache/worker.jar" -d /build/out/function.jar /src
