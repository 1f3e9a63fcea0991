#!/bin/sh
# Write src/constellation/wire/gen from proto/*.proto. The result is committed; `make proto` runs this.
set -eu
cd "$(dirname "$0")/.."
out=src/constellation/wire/gen
PATH="$PWD/.venv/bin:$PATH"
python -m grpc_tools.protoc -I proto --python_out="$out" --pyi_out="$out" --grpclib_python_out="$out" proto/*.proto
# protoc writes imports relative to the proto root; ours live inside the package.
sed -i -E 's/^import ([a-z]+_pb2)$/from constellation.wire.gen import \1/; s/^import ([a-z]+_pb2)/import constellation.wire.gen.\1/' "$out"/*_grpc.py
rm -f "$out/agent_grpc.py"
