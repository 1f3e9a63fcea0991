#!/bin/sh
# Prove the two commands on a fresh Debian: a root made by debootstrap with python3, git and make, entered by
# pivot_root in mount and pid namespaces of its own with a fresh /proc, from a clean clone. First with the network
# (make up, curl, make down), then without it (the same, and make test), as root and as an ordinary user.
#
# usage (as root): tools/clean-room.sh [root|user|both] [up|all]
# ROOM: where the root is kept (build/clean-room); SUITE, MIRROR: what debootstrap takes. Needs debootstrap, iproute2.
set -eu
who=${1:-both}
what=${2:-all}
here=$(cd "$(dirname "$0")/.." && pwd)
room=${ROOM:-$here/build/clean-room}

if [ ! -f "$room/.ready" ]; then
    rm -rf "$room"
    mkdir -p "$room"
    # shellcheck disable=SC2086  # an empty mirror is none
    debootstrap --variant=minbase --include=python3,git,make,ca-certificates,curl "${SUITE:-bookworm}" "$room" ${MIRROR:-}
    # This machine's own way to the package registries: apt's sources, pip's settings, certificates, names.
    rm -f "$room/etc/apt/sources.list"
    cp -rL /etc/apt/. "$room/etc/apt/"
    cp -rL /usr/share/keyrings/. "$room/usr/share/keyrings/"
    cp -L /etc/ssl/certs/ca-certificates.crt "$room/etc/ssl/certs/ca-certificates.crt"
    cp -L /etc/resolv.conf /etc/hosts "$room/etc/"
    [ ! -f /etc/pip.conf ] || cp -L /etc/pip.conf "$room/etc/pip.conf"
    chroot "$room" useradd --create-home --shell /bin/sh visitor
    printf '[safe]\n\tdirectory = *\n' > "$room/etc/gitconfig"
    touch "$room/.ready"
fi

cat > "$room/visit" <<'VISIT'
set -eu
cd "$HOME"
if [ "$PHASE" = online ]; then
    rm -rf constellation
    git clone -q /src constellation
fi
cd constellation
echo "== $PHASE as $(id -un): make up, curl, make down"
make up
curl -sS --fail -X POST localhost:9000/functions/hello-python/invoke -d '{"name":"Ada"}'
echo
make down
if [ "$PHASE" = online ] && [ "$WHAT" = all ]; then make setup; fi
if [ "$PHASE" = offline ] && [ "$WHAT" = all ]; then
    echo "== $PHASE as $(id -un): make test"
    make test
fi
VISIT

enter() { # enter USER HOME PHASE [unshare flag]
    user=$1 home=$2 phase=$3
    shift 3
    export room here
    env -i WHAT="$what" PHASE="$phase" USER="$user" HOME="$home" TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        room="$room" here="$here" \
        $(env | grep -E '^(PIP_[A-Z_]+|SSL_CERT_FILE|[a-zA-Z]+_(proxy|PROXY))=[^ ]+$' || true) \
        unshare --mount --pid --fork --kill-child --ipc --uts "$@" sh -euc '
            mount --make-rprivate /
            [ "$PHASE" = online ] || ip link set lo up
            mount --bind "$room" "$room"
            mkdir -p "$room/src" "$room/old"
            mount --bind "$here" "$room/src"
            mount --rbind /dev "$room/dev"
            mount --rbind /sys "$room/sys"
            mount -t tmpfs -o mode=1777 tmpfs "$room/tmp"
            mount -t tmpfs -o mode=755 tmpfs "$room/run"
            cd "$room"
            pivot_root . old
            mount -t proc proc /proc
            umount -l /old
            cd /
            if [ "$USER" = root ]; then exec sh /visit; fi
            exec setpriv --reuid "$USER" --regid "$USER" --init-groups sh /visit
        '
}

for user in root visitor; do
    case "$who:$user" in
        root:visitor | user:root) continue ;;
        *:root) home=/root ;;
        *) home=/home/visitor ;;
    esac
    enter "$user" "$home" online
    enter "$user" "$home" offline --net
done
echo "clean room: $who, $what: done"
