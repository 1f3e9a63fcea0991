#!/bin/sh
# Write requirements.lock and requirements-dev.lock: what pip resolves for pyproject.toml in a fresh venv.
set -eu
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
wanted() { "$scratch/venv/bin/python" - "$1" <<'PY'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
build = tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"]
print("\n".join(build + project["dependencies"] + (project["optional-dependencies"]["dev"] if sys.argv[1] == "dev" else [])))
PY
}
wanted run > "$scratch/run.in"
"$scratch/venv/bin/python" -m pip install -q -r "$scratch/run.in"
"$scratch/venv/bin/python" -m pip freeze --all --exclude pip > "$scratch/run.lock"
wanted dev > "$scratch/dev.in"
"$scratch/venv/bin/python" -m pip install -q -c "$scratch/run.lock" -r "$scratch/dev.in"
"$scratch/venv/bin/python" -m pip freeze --all --exclude pip > "$scratch/dev.lock"
mv "$scratch/run.lock" requirements.lock
mv "$scratch/dev.lock" requirements-dev.lock
