#!/usr/bin/env bash
# Build the service's image, local/distilled-reranker:latest, or: docker/service/build.sh IMAGE
# The base is BASE, or the official Python image, or, if no registry can be reached, one made from Debian packages.
# BASE=python:3.11-slim-bookworm@sha256:... pins the base. A base with a digest is built on by that digest, and labels of the image name it.
# The image holds the project with the extra opensearch, in the versions and with the hashes of requirements.txt. All is fetched here, so
# the build itself needs no network. Its parts list in CycloneDX's format is /opt/sbom.cdx.json in the image.
# Does nothing if the image was already made from these files and this base. Needs docker and a Python 3.11 or later with pip and venv
# (PYTHON); without a registry also debootstrap, as root.
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
unset PYTHONPATH

base=${BASE:-$OFFICIAL}
# files_hash: print the hash of everything that the image is made from
files_hash() {
    {
        find reranker opensearch distill pyproject.toml README.md LICENSE NOTICE docker/lib.sh docker/service -type f \
            ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
        echo "${BASE:-}"
        docker image inspect --format '{{.Id}}' "${BASE:-$OFFICIAL}" 2>/dev/null || true
    } | sha256sum | cut -c1-16
}
if [ "$(made_from "$IMAGE")" = "$(files_hash)" ]; then
    say "$IMAGE is up to date"
    exit 0
fi

if ! docker image inspect "$base" >/dev/null 2>&1 && ! timeout 300 docker pull -q "$base" >/dev/null 2>&1; then
    say "$base cannot be pulled"
    if [ -n "${BASE:-}" ]; then exit 1; fi
    base=$LOCAL
    debian_base "$base" ca-certificates,python3
fi
digest=$(digest_of "$base")
from=${digest:-$base} # an image that was never in a registry has no digest

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fetching packages"
case $(docker version --format '{{.Server.Arch}}') in
    arm64) machine=aarch64 ;;
    *) machine=x86_64 ;;
esac
platforms=()
for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${glibc}_$machine"); done
# Two environments: one of the tools, and one that has nothing but the image's packages, for their list.
for environment in tools listed; do "$PYTHON" -m venv --without-pip "$work/$environment"; done
pip() { "$PYTHON" -m pip --python "$work/tools" "$@"; }
install=(install -q --no-deps --no-compile)
locked=(--require-hashes --only-binary :all:) # a package with another hash, or without a wheel, ends the build
pip "${install[@]}" "${locked[@]}" -r docker/service/tools.txt
pip "${install[@]}" "${locked[@]}" --target "$work/image/dependencies" --python-version 3.11 "${platforms[@]}" \
    --platform "manylinux2014_$machine" -r docker/service/requirements.txt
pip wheel -q --no-deps --no-build-isolation --wheel-dir "$work/wheel" .
pip "${install[@]}" --no-index --find-links "$work/wheel" --target "$work/image/reranker" distilled-reranker
rm -rf "$work"/image/*/bin # scripts that start this machine's Python

printf '%s\n' "$work/image/reranker" "$work/image/dependencies" >"$(echo "$work"/listed/lib/python3*/site-packages)/image.pth"
"$work/tools/bin/cyclonedx-py" environment --output-reproducible -o "$work/sbom.json" "$work/listed"
"$PYTHON" - "$work/sbom.json" "${base%@*}" "${digest:-$(docker image inspect --format '{{.Id}}' "$base")}" >"$work/image/sbom.cdx.json" <<'PYTHON'
import json, sys

file, base, version = sys.argv[1:]
bill = json.load(open(file, encoding="utf-8"))
project = next(component for component in bill["components"] if component["name"] == "distilled-reranker")
bill["metadata"]["component"] = {"type": "container", "bom-ref": "image", "name": project["name"], "version": project["version"]}
bill["components"].append({"type": "container", "bom-ref": "base", "name": base, "version": version.rpartition("@")[2], "description": "base image"})
json.dump(bill, sys.stdout, indent=1)
PYTHON

say "building $IMAGE on $from"
cp docker/service/Dockerfile "$work/image/"
old=$(docker image inspect --format '{{.Id}}' "$IMAGE" 2>/dev/null || true)
docker build -q --build-arg "BASE=$from" --label "build-files=$(files_hash)" --label "org.opencontainers.image.base.name=${base%@*}" \
    ${digest:+--label "org.opencontainers.image.base.digest=${digest##*@}"} -t "$IMAGE" "$work/image" >/dev/null
if [ -n "$old" ] && [ "$old" != "$(docker image inspect --format '{{.Id}}' "$IMAGE")" ]; then
    docker rmi "$old" >/dev/null 2>&1 || true # kept if a container still runs it
fi
say "built $IMAGE"
