# Rust: the handler's file is a module of a program whose other module is the worker. With a Cargo.toml it is a program of
# that package, built by cargo; without one rustc suffices.
cat > /build/tmp/bootstrap.rs <<END
#[path = "/run/recipe/constellation.rs"]
pub mod constellation;
#[path = "/src/$HANDLER_MODULE.rs"]
mod function;

fn main() {
    constellation::run(function::$HANDLER_NAME)
}
END
if [ -f /src/Cargo.toml ]; then
    export CARGO_HOME=/build/cargo CARGO_TARGET_DIR=/build/target CARGO_BUILD_JOBS="$BUILD_JOBS" CARGO_NET_RETRY=2
    export CARGO_TERM_PROGRESS_WHEN=never CARGO_PROFILE_RELEASE_DEBUG=limited
    mkdir -p "$CARGO_HOME"
    if [ "$CARGO_INDEX" != sparse+https://index.crates.io/ ]; then
        printf '[source.crates-io]\nreplace-with = "configured"\n[source.configured]\nregistry = "%s"\n' "$CARGO_INDEX" > "$CARGO_HOME/config.toml"
    fi
    cp -R /src /build/app
    chmod -R u+w /build/app
    cd /build/app
    printf '\n[[bin]]\nname = "bootstrap"\npath = "/build/tmp/bootstrap.rs"\n' >> Cargo.toml
    locked=
    [ -f Cargo.lock ] && locked=--locked
    cargo build --release --bin bootstrap $locked
    cp "$CARGO_TARGET_DIR/release/bootstrap" /build/tmp/bootstrap
else
    rustc --edition 2021 -O -C debuginfo=limited -o /build/tmp/bootstrap /build/tmp/bootstrap.rs
fi
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
