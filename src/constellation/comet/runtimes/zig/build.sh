# Zig: the handler's file is a module of a program, the worker is C.
export ZIG_GLOBAL_CACHE_DIR=/build/cache ZIG_LOCAL_CACHE_DIR=/build/cache
cat > /build/tmp/bootstrap.zig <<END
const function = @import("function");
const constellation = @import("constellation");

pub extern fn main(c_int, [*][*:0]u8) c_int; // the worker's

export fn ct__handle(event: [*]const u8, length: usize, context: constellation.Raw, answer: constellation.RawAnswer) c_int {
    return constellation.call(function.$HANDLER_NAME, event[0..length], context, answer);
}
END
worker="-DCT_HANDLER=ct__handle -DCT_LANGUAGE=\"zig\" -I/run/c"
# shellcheck disable=SC2086 # flags are words
/run/cache/ziglang/zig build-exe -lc -O ReleaseSafe -ferror-tracing -fno-strip -femit-bin=/build/tmp/bootstrap \
    -cflags -std=gnu17 $worker -- /run/c/worker.c /run/c/answer.c -I/run/c \
    --dep function --dep constellation -Mroot=/build/tmp/bootstrap.zig \
    --dep constellation "-Mfunction=/src/$HANDLER_MODULE.zig" -I/run/c -Mconstellation=/run/recipe/constellation.zig
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
