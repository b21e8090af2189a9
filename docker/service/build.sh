#!/usr/bin/env bash
# Build the service's image, local/distilled-reranker:latest, or: docker/service/build.sh IMAGE
# The base is the official Python image, or BASE, or, if no registry can be reached, one made from Debian packages.
# The image holds the project with the extra opensearch. Its wheels are fetched here, so the build itself needs no network.
# Does nothing if the image was already made from these files. Needs docker and a Python 3.11 or later with pip (PYTHON);
# without a registry also debootstrap, as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
me=docker/service
. docker/lib.sh

IMAGE=${1:-local/distilled-reranker:latest}
OFFICIAL=python:3.11-slim-bookworm
LOCAL=local/python:3.11-bookworm
PYTHON=${PYTHON:-${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python}}
PYTHON=${PYTHON:-python3}
need docker "$PYTHON"

files_hash=$(find reranker opensearch distill pyproject.toml README.md LICENSE NOTICE docker/lib.sh docker/service -type f \
    ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
if [ "$(made_from "$IMAGE")" = "$files_hash" ]; then
    say "$IMAGE is up to date"
    exit 0
fi

if [ -z "${BASE:-}" ]; then
    BASE=$OFFICIAL
    if ! docker image inspect "$BASE" >/dev/null 2>&1 && ! timeout 300 docker pull -q "$BASE" >/dev/null 2>&1; then
        say "$BASE cannot be pulled"
        BASE=$LOCAL
        debian_base "$BASE" ca-certificates,python3
    fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fetching wheels"
"$PYTHON" -m pip wheel -q --no-deps --wheel-dir "$work/project" .
case $(docker version --format '{{.Server.Arch}}') in
    arm64) machine=aarch64 ;;
    *) machine=x86_64 ;;
esac
platforms=()
for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
"$PYTHON" -m pip download -q --dest "$work/dependencies" --only-binary=:all: --python-version 3.11 "${platforms[@]}" \
    --platform "manylinux2014_$machine" "$(echo "$work"/project/*.whl)[opensearch]" pip
rm "$work"/dependencies/distilled_reranker-*.whl # it makes a layer of its own

say "building $IMAGE on $BASE"
cp docker/service/Dockerfile "$work/"
old=$(docker image inspect --format '{{.Id}}' "$IMAGE" 2>/dev/null || true)
docker build -q --build-arg "BASE=$BASE" --label "build-files=$files_hash" -t "$IMAGE" "$work" >/dev/null
if [ -n "$old" ] && [ "$old" != "$(docker image inspect --format '{{.Id}}' "$IMAGE")" ]; then
    docker rmi "$old" >/dev/null 2>&1 || true # kept if a container still runs it
fi
say "built $IMAGE"
