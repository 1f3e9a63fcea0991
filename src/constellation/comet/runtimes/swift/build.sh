# Swift: the function's sources and ours are one module of a program; the worker is C.
worker='-DCT_HANDLER=ct__handle -DCT_LANGUAGE="swift" -I/run/c -I/run/recipe'
objects=
for source in /run/c/worker.c /run/c/answer.c /run/recipe/shim.c; do
    object=/build/tmp/$(basename "$source" .c).o
    # shellcheck disable=SC2086 # flags are words
    gcc -std=gnu17 -O2 -g -pipe $worker -c -o "$object" "$source"
    objects="$objects $object"
done
cat > /build/tmp/bootstrap.swift <<END
@_cdecl("ct__handle")
public func ctHandle(_ event: UnsafePointer<CChar>, _ length: Int, _ context: UnsafeMutablePointer<ct_context>, _ answer: OpaquePointer) -> CInt {
    answered(UnsafeRawBufferPointer(start: event, count: length), context, answer, by: $HANDLER_NAME)
}
END
export HOME=/build/tmp
find /src -name '*.swift' > /build/tmp/sources
# shellcheck disable=SC2086 # objects are words
swiftc -O -g -static-stdlib -parse-as-library -module-name Function -module-cache-path /build/tmp/modules -j "$BUILD_JOBS" \
    -Xcc -I/run/c -import-objc-header /run/recipe/shim.h -Xlinker --gc-sections \
    -o /build/tmp/bootstrap $objects /run/recipe/constellation.swift /build/tmp/bootstrap.swift @/build/tmp/sources
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
