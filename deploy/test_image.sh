#!/usr/bin/env bash
# Builds the image and tests it with restricted privileges. Needs root on Debian or Ubuntu, no Docker and no registry.
#
# The base image is made from Debian's archive: trixie has Python 3.13. STORE keeps everything, so that a second run is
# fast. Arguments are passed to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

STORE=${STORE:-/var/tmp/fantasia-image}
BASE=docker.io/library/python:3.13-slim
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

TOOLS=(buildah podman debootstrap runc catatonit uidmap)
if ! dpkg -s "${TOOLS[@]}" >/dev/null 2>&1; then
    apt-get update -qq
    apt-get install -qq --no-install-recommends "${TOOLS[@]}"
fi

mkdir -p "$STORE"
export IMAGE_ENGINE_OPTIONS="--root $STORE/storage --runroot $STORE/run --storage-driver overlay"
# shellcheck disable=SC2086
if ! podman $IMAGE_ENGINE_OPTIONS image exists "$BASE"; then
    # shellcheck disable=SC2016  # apt expands it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$' || true)
    rm -rf "$STORE/rootfs"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
        trixie "$STORE/rootfs" ${mirror:+"$mirror"}  # without a mirror, debootstrap uses its default
    tar -C "$STORE/rootfs" -c . | podman $IMAGE_ENGINE_OPTIONS import - "$BASE"
    rm -rf "$STORE/rootfs"
fi

# pip in the build uses the certificates and the package index of this machine.
index=${PIP_INDEX_URL:-$(.venv/bin/pip config get global.index-url 2>/dev/null || true)}
printf '[global]\ncert = %s\n%s\n' "$CERTIFICATES" "${index:+index-url = $index}" >"$STORE/pip.conf"
export IMAGE_BUILD_OPTIONS="--isolation chroot --network host \
    -v $CERTIFICATES:$CERTIFICATES:ro -v $STORE/pip.conf:/etc/pip.conf:ro"
# crun and the default limits fail without systemd.
export IMAGE_RUN_OPTIONS="--cgroup-manager=cgroupfs --runtime runc"
export IMAGE_LIMITS="--ulimit nofile=10000:10000 --ulimit nproc=4096:4096"

exec .venv/bin/pytest -m image tests/e2e "$@"
