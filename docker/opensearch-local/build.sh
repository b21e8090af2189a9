#!/usr/bin/env bash
# Build local/opensearch:2.19.1 from Debian packages and Maven Central, for machines without an image registry.
# Does nothing if the image was already made from these files. Needs docker, debootstrap, mvn and javac; root or sudo.
set -euo pipefail
cd "$(dirname "$0")"

IMAGE=local/opensearch:2.19.1
BASE=local/debian-jre17:bookworm
OPENSEARCH=2.19.1
me=opensearch-local
. ../lib.sh

files_hash=$({ cat ../lib.sh; find . -type f -print0 | sort -z | xargs -0 cat; } | sha256sum | cut -c1-16)
if [ "$(made_from "$IMAGE")" = "$files_hash" ]; then
    say "$IMAGE is up to date"
    exit 0
fi
need docker mvn javac jar
debian_base "$BASE" ca-certificates,openjdk-17-jre-headless,procps

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { mvn -B -l "$work/mvn.log" "$@" generate-resources >/dev/null || { tail -n 30 "$work/mvn.log" >&2; exit 1; }; }

say "fetching OpenSearch $OPENSEARCH and its plugins with Maven"
stage=$work/stage
fetch -f pom.xml -Dout="$stage"
rm -rf "$stage/markers"

# describe NAME CLASS [EXTENDED]: write a module's descriptor
describe() {
    cat >"$stage/modules/$1/plugin-descriptor.properties" <<EOF
name=$1
description=OpenSearch's module $1
version=$OPENSEARCH
opensearch.version=$OPENSEARCH
java.version=11
classname=$2
extended.plugins=${3:-}
has.native.controller=false
EOF
    if [ -e "policies/$1.policy" ]; then cp "policies/$1.policy" "$stage/modules/$1/plugin-security.policy"; fi
}

# module NAME ARTIFACT CLASS [EXTENDED]: make a module's folder as in the distribution, without the jars of lib/
module() {
    local folder=$stage/modules/$1
    fetch -f module.pom.xml -Dmodule="$2" -Dout="$folder"
    local jar
    for jar in "$folder"/*.jar; do
        if [ -e "$stage/lib/${jar##*/}" ]; then rm "$jar"; fi
    done
    describe "$1" "$3" "${4:-}"
}

# compiled NAME CLASS: compile a module from modules/
compiled() {
    mkdir -p "$stage/modules/$1" "$work/classes/$1"
    find "modules/$1/src" -name '*.java' -exec javac --release 11 -Xlint:-options -d "$work/classes/$1" -cp "$stage/lib/*" {} +
    jar --create --file "$stage/modules/$1/$1.jar" -C "$work/classes/$1" .
    describe "$1" "$2"
}
module transport-netty4 transport-netty4-client org.opensearch.transport.Netty4Plugin
module analysis-common analysis-common org.opensearch.analysis.common.CommonAnalysisPlugin
module lang-painless lang-painless org.opensearch.painless.PainlessPlugin
module mapper-extras mapper-extras-client org.opensearch.index.mapper.MapperExtrasPlugin
module parent-join parent-join-client org.opensearch.join.ParentJoinPlugin
module rank-eval rank-eval-client org.opensearch.index.rankeval.RankEvalPlugin
module reindex reindex-client org.opensearch.index.reindex.ReindexPlugin lang-painless
module ingest-common ingest-common org.opensearch.ingest.common.IngestCommonPlugin lang-painless
compiled search-pipeline-common local.searchpipeline.SearchPipelineCommonPlugin

cp -r config entrypoint.sh Dockerfile "$stage/"
cp -r "$stage/plugins/opensearch-security/config" "$stage/config/opensearch-security"  # its place in the distribution
say "building $IMAGE"
docker build -q --label "build-files=$files_hash" -t "$IMAGE" "$stage" >/dev/null
say "built $IMAGE"
