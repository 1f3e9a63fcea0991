# What virtual machines share: the worker's classes, and those that it loads of Java's as the machine wants them in memory.
mkdir /build/classes
javac $JAVAC_FLAGS -encoding UTF-8 -g -nowarn -XDstringConcat=inline -d /build/classes /run/recipe/constellation/*.java
jar --create --no-compress --file /build/out/worker.jar --manifest /run/recipe/worker.mf -C /build/classes .
touch -d @0 /build/out/worker.jar
java $JAVA_FLAGS -XX:ArchiveClassesAtExit=/build/out/worker.jsa -jar /run/kit/worker.jar rehearsal
