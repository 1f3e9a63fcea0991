# C and C++: every source of the function together with the worker, one program.
# $COMPILER, $STANDARD, $KINDS (find's test for sources), $WORKER_HANDLER and $GLUE come from the recipe.
set -f
flags="-O2 -g -pipe -fno-reorder-blocks-and-partition -rdynamic -fstack-protector-strong -Wl,-z,relro,-z,now -Wl,--push-state,--no-as-needed -lm -Wl,--pop-state"
WORKER_HANDLER=${WORKER_HANDLER:-$HANDLER_NAME} # C calls the function's own
worker="-DCT_HANDLER=$WORKER_HANDLER -DCT_LANGUAGE=\"$LANGUAGE\" -I/run/recipe"
parts="worker answer"
if [ -n "$GLUE" ]; then parts="$parts thrown"; fi
objects=
for part in $parts; do
    gcc -std=gnu17 -O2 -g -pipe $worker -c -o "/build/tmp/$part.o" "/run/recipe/$part.c"
    objects="$objects /build/tmp/$part.o"
done
# shellcheck disable=SC2086 # flags and tests are words
find /src $KINDS -exec "$COMPILER" -std="$STANDARD" -Wall $flags -DCT_FUNCTION="$HANDLER_NAME" -DCT_HANDLER="$WORKER_HANDLER" -I/run/recipe -I/src \
    -o /build/tmp/bootstrap $objects $GLUE {} +
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
