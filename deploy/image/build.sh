#!/usr/bin/env bash
# Builds the image of a target, cpu or gpu. Usage: build.sh [TARGET]
#
# IMAGE      name and tag; by default fantasia:VERSION, with -gpu behind it for the target gpu
# IMAGE_BUILDER  the command that builds, with its options; by default podman, buildah or docker, the first that exists
# BASE, RUNTIME_BASE  base images, best pinned by digest (Dockerfile)
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${1:-cpu}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' proto/fantasia/__init__.py)
image=${IMAGE:-fantasia:$version$([ "$target" = cpu ] || echo "-$target")}
if [ -z "${IMAGE_BUILDER:-}" ]; then
    for program in podman buildah docker; do
        if command -v "$program" >/dev/null; then IMAGE_BUILDER="$program build"; break; fi
    done
fi
read -ra builder <<<"${IMAGE_BUILDER:?podman, buildah or docker is needed to build an image}"

# The digest of a bundle is the sha256 of its manifest.
models=$(find models -name manifest.json | sort | while read -r manifest; do
    name=${manifest#models/}
    echo "${name%/manifest.json}=sha256:$(sha256sum "$manifest" | cut -d' ' -f1)"
done | paste -sd,)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
arguments=(--target "$target" --build-arg "VERSION=$version"
    --label "org.opencontainers.image.revision=$revision" --label "fantasia.models=$models")
for name in BASE RUNTIME_BASE; do
    if [ -n "${!name:-}" ]; then arguments+=(--build-arg "$name=${!name}"); fi
done
"${builder[@]}" "${arguments[@]}" --tag "$image" .
echo "built $image"
