#!/bin/sh
# Bring what the build needs and this machine lacks: a compiler, the headers of libseccomp, libnghttp2, OpenSSL and Python, venv.
# As root (or with sudo that asks nothing) the packages are installed; otherwise they are named exactly.
# usage: tools/setup.sh PYTHON
set -eu
python=$1

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Constellation needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Try: make PYTHON=python3.11" >&2
    exit 1
}

missing=""
need() { missing="$missing $1"; }
command -v cc >/dev/null 2>&1 || need gcc
echo '#include <stdlib.h>' | cc -E -x c - >/dev/null 2>&1 || need libc6-dev
echo '#include <linux/seccomp.h>' | cc -E -x c - >/dev/null 2>&1 || need linux-libc-dev
echo '#include <seccomp.h>' | cc -E -x c - >/dev/null 2>&1 || need libseccomp-dev
echo '#include <nghttp2/nghttp2.h>' | cc -E -x c - >/dev/null 2>&1 || need libnghttp2-dev
echo '#include <openssl/ssl.h>' | cc -E -x c - >/dev/null 2>&1 || need libssl-dev
command -v openssl >/dev/null 2>&1 || need openssl # the tests make certificates with it
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$headers/Python.h" ] || need python3-dev
"$python" -c 'import ensurepip, venv' 2>/dev/null || need python3-venv
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing on this machine (names as in Debian):$missing" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    echo "Missing system packages. Install them and run make again:" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086  # a list of words
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
