# Scala's compiler, and the worker as functions see it.
. /run/java/fetch.sh
fetch_listed /run/recipe/compiler.jars /build/out
mkdir /build/classes
javac $JAVAC_FLAGS -encoding UTF-8 -g -nowarn -d /build/classes /run/java/constellation/*.java
jar --create --file /build/out/worker.jar -C /build/classes .
