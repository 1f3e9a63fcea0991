# WebAssembly: the handler's module, in binary or in text, becomes code of this machine; all that was deployed lies beside it, as
# the function's /code. Only what is compiled here is ever loaded, whatever the sources hold.
source=
for suffix in wasm wat; do
    if [ -z "$source" ] && [ -f "/src/$HANDLER_MODULE.$suffix" ]; then source=/src/$HANDLER_MODULE.$suffix; fi
done
if [ -z "$source" ]; then
    echo "there is no $HANDLER_MODULE.wasm and no $HANDLER_MODULE.wat" >&2
    exit 1
fi
/run/runtime/ct-wasm /run/runtime/libwasmtime.so compile "$source" /build/out
mkdir /build/out/files
cp -R /src/. /build/out/files/
