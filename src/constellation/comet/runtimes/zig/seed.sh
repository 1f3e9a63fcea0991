# Zig's compiler, from the package ziglang; its standard library and those of C are compiled by each build.
python3 -I -c 'import sys; sys.path.insert(0, "/run/tools"); from pip._internal.cli.main import main; sys.exit(main())' \
    install --disable-pip-version-check --no-input --no-cache-dir --no-compile --root-user-action ignore --progress-bar off \
    --only-binary :all: --require-hashes --target /build/out --requirement /run/recipe/requirements.txt
rm -rf /build/out/bin
