#!/usr/bin/env bash
# Builds the images and tests them with restricted privileges. Needs root on Debian or Ubuntu, but no Docker and no
# registry.
#
# The base images are made from Debian's archive: trixie has Python 3.13. One has venv and pip, for the build. The other
# has what Debian's slim images have, and Python: the images are made from it. STORE keeps everything, so that a second
# run is fast. Arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."

STORE=${STORE:-/var/tmp/fantasia-image}
export BASE=localhost/fantasia-build-base:trixie
export RUNTIME_BASE=localhost/fantasia-runtime-base:trixie
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

TOOLS=(buildah podman debootstrap runc catatonit uidmap)
if ! dpkg -s "${TOOLS[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -qq --no-install-recommends "${TOOLS[@]}"
fi

mkdir -p "$STORE"
export IMAGE_ENGINE_OPTIONS="--root $STORE/storage --runroot $STORE/run --storage-driver overlay"
read -ra engine <<<"$IMAGE_ENGINE_OPTIONS"
if ! podman "${engine[@]}" image exists "$BASE" || ! podman "${engine[@]}" image exists "$RUNTIME_BASE"; then
    # shellcheck disable=SC2016  # apt expands it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$' || true)
    root=$STORE/rootfs
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
        trixie "$root" ${mirror:+"$mirror"}  # without a mirror, debootstrap uses its default
    tar -C "$root" -c . | podman "${engine[@]}" import - "$BASE"
    chroot "$root" apt-get purge -qq --autoremove python3-pip python3-venv python3.13-venv python3-packaging \
        python3-pip-whl python3-setuptools-whl
    rm -rf "$root"/usr/share/{doc,info,locale,man} "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
    tar -C "$root" -c . | podman "${engine[@]}" import - "$RUNTIME_BASE"
    rm -rf "$root"
fi

# pip in the build uses the certificates and the package index of this machine.
index=${PIP_INDEX_URL:-$(.venv/bin/pip config get global.index-url 2>/dev/null || true)}
printf '[global]\ncert = %s\n%s\n' "$CERTIFICATES" "${index:+index-url = $index}" >"$STORE/pip.conf"
export IMAGE_BUILDER="buildah $IMAGE_ENGINE_OPTIONS bud --isolation chroot --network host --format docker --pull-never \
    --layers -v $CERTIFICATES:$CERTIFICATES:ro -v $STORE/pip.conf:/etc/pip.conf:ro"
# crun and the default limits fail without systemd.
export IMAGE_RUN_OPTIONS="--cgroup-manager=cgroupfs --runtime runc"
export IMAGE_LIMITS="--ulimit nofile=10000:10000 --ulimit nproc=4096:4096"

exec .venv/bin/pytest -m image tests/e2e "$@"
