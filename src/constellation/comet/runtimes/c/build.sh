# C and C++: every source of the function together with the worker, one program.
# $COMPILER, $STANDARD, $KINDS (find's test for sources) and $GLUE come from the recipe.
set -f
flags="-O2 -g -pipe -rdynamic -fstack-protector-strong -Wl,-z,relro,-z,now -Wl,--push-state,--no-as-needed -lm -Wl,--pop-state"
worker="-DCT_HANDLER=$WORKER_HANDLER -DCT_LANGUAGE=\"$LANGUAGE\" -I/run/recipe"
for part in worker answer; do
    gcc -std=gnu17 -O2 -g -pipe $worker -c -o "/build/tmp/$part.o" "/run/recipe/$part.c"
done
# shellcheck disable=SC2086 # flags and tests are words
find /src $KINDS -exec "$COMPILER" -std="$STANDARD" -Wall $flags -DCT_FUNCTION="$HANDLER_NAME" -I/run/recipe -I/src \
    -o /build/tmp/bootstrap /build/tmp/worker.o /build/tmp/answer.o $GLUE {} +
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
