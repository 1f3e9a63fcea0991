# The standard library, compiled as build.sh would: what the worker and most functions use of it.
. /run/recipe/environment.sh
export GOCACHE=/build/out
mkdir /build/app
cd /build/app
printf 'module function\n\ngo %s\n' "$GO_LANGUAGE" > go.mod
go mod edit -require=constellation@v0.0.0 -replace=constellation=/run/recipe/constellation
printf 'package main\n\nimport (\n' > main.go
for name in constellation bufio crypto/sha256 encoding/base64 encoding/csv encoding/hex math/rand net/url path/filepath regexp \
    strconv; do
    printf '\t_ "%s"\n' "$name" >> main.go
done
printf ')\n\nfunc main() {}\n' >> main.go
go build -o /build/tmp/seed .
