# Go: the function's module, with the worker as one more module and a main that starts the handler.
. /run/recipe/environment.sh
export GOCACHE=/build/cache
if [ -d /run/cache ]; then cp -R /run/cache "$GOCACHE"; fi
cp -R /src /build/app
chmod -R u+w /build/app
cd /build/app
[ -f go.mod ] || printf 'module function\n\ngo %s\n' "$GO_LANGUAGE" > go.mod
go mod edit -require=constellation@v0.0.0 -replace=constellation=/run/recipe/constellation
package=$(dirname "$HANDLER_MODULE")
printf 'package main\n\nimport "constellation"\n\nfunc main() { constellation.Start(%s) }\n' "$HANDLER_NAME" > "$package/constellation_main.go"
go build -o /build/tmp/bootstrap "./$package"
cp -R /src/. /build/out/
rm -rf /build/out/bootstrap
cp /build/tmp/bootstrap /build/out/bootstrap
