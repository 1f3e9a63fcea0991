# The packages that requirements.txt names, as wheels, into deps/ beside the sources. Hashes are checked where it has some.
cp -R /src/. /build/out/
chmod -R u+w /build/out
python3 -I -c 'import sys; sys.path.insert(0, "/run/tools"); from pip._internal.cli.main import main; sys.exit(main())' \
    install --disable-pip-version-check --no-input --no-cache-dir --no-compile --no-warn-script-location --root-user-action ignore \
    --progress-bar off --only-binary :all: --target /build/out/deps --requirement /src/requirements.txt
rm -rf /build/out/deps/bin
# /code is read-only and its files have the time of the day they were put there: what says when a file was made would be
# compiled again at each start
python3 -m compileall -q --invalidation-mode unchecked-hash /build/out/deps || :
