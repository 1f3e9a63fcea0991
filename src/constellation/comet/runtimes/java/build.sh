# Java: the function's classes in one archive; the worker's are on every host. On the class path are the archives in lib/
# too, the function's own and those that its gradle.lockfile names.
. /run/recipe/fetch.sh
cp -R /src/. /build/out/
chmod -R u+w /build/out
rm -rf /build/out/function.jar
if [ -f /src/gradle.lockfile ]; then fetch_locked /src/gradle.lockfile /build/out/lib; fi
mkdir /build/classes
find /src -name '*.java' > /build/tmp/sources
sed -i 's/.*/"&"/' /build/tmp/sources
javac $JAVAC_FLAGS -encoding UTF-8 -g -nowarn -XDstringConcat=inline -implicit:none -sourcepath /run/recipe -cp '/build/out/lib/*' -d /build/classes \
    @/build/tmp/sources
jar --create --no-compress --file /build/out/function.jar -C /build/classes .
