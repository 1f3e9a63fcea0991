# What decides what the go command finds in its cache, so that it is the same for all builds.
export GOPATH=/build/gopath GOFLAGS="-trimpath -buildvcs=false -p=$BUILD_JOBS" GOTOOLCHAIN=local GONOSUMDB=constellation
export GOTELEMETRY=off CGO_ENABLED=0
