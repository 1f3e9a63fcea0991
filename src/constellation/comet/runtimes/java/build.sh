# Java: the function's classes and the worker's in one archive; archives that lie in lib/ are on the class path too.
mkdir /build/classes
find /src /run/recipe/constellation -name '*.java' > /build/tmp/sources
sed -i 's/.*/"&"/' /build/tmp/sources
javac -encoding UTF-8 -g -nowarn -cp '/src/lib/*' -d /build/classes @/build/tmp/sources
cp -R /src/. /build/out/
rm -rf /build/out/function.jar
jar --create --no-compress --file /build/out/function.jar -C /build/classes .
