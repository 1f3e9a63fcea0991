# Scala: the function's classes and Scala's own libraries.
. /run/java/fetch.sh
cp -R /src/. /build/out/
chmod -R u+w /build/out
mkdir -p /build/out/lib
if [ -f /src/gradle.lockfile ]; then fetch_locked /src/gradle.lockfile /build/out/lib; fi
cp /run/cache/scala-library-*.jar /run/cache/scala3-library_3-*.jar /build/out/lib/
class_path=$(find /build/out/lib -name '*.jar' | tr '\n' :)
find /src -name '*.scala' > /build/tmp/sources
java $JAVA_FLAGS -cp '/run/cache/*' dotty.tools.dotc.Main -color:never -classpath "$class_path/run/cache/worker.jar" -d /build/out/function.jar @/build/tmp/sources
