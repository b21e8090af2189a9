#!/usr/bin/env bash
# Build local/opensearch:2.19.1 from Debian packages and Maven Central, for machines that reach no image registry.
# Does nothing where the image was already made from these very files. Needs docker, debootstrap and mvn; root or sudo.
set -euo pipefail
cd "$(dirname "$0")"

IMAGE=local/opensearch:2.19.1
BASE=local/debian-jre17:bookworm
OPENSEARCH=2.19.1
me=opensearch-local
. ../lib.sh

files_hash=$(cat ../lib.sh build.sh Dockerfile entrypoint.sh pom.xml module.pom.xml config/* policies/* | sha256sum | cut -c1-16)
if [ "$(made_from "$IMAGE")" = "$files_hash" ]; then
    say "$IMAGE is up to date"
    exit 0
fi
need docker mvn
debian_base "$BASE" ca-certificates,openjdk-17-jre-headless,procps

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() { mvn -B -l "$work/mvn.log" "$@" generate-resources >/dev/null || { tail -n 30 "$work/mvn.log" >&2; exit 1; }; }

say "fetching OpenSearch $OPENSEARCH and its plugins with Maven"
stage=$work/stage
fetch -f pom.xml -Dout="$stage"
rm -rf "$stage/markers"

# module NAME ARTIFACT CLASS [EXTENDED]: a folder as the distribution has it, without what lib/ already holds
module() {
    local folder=$stage/modules/$1
    fetch -f module.pom.xml -Dmodule="$2" -Dout="$folder"
    local jar
    for jar in "$folder"/*.jar; do
        if [ -e "$stage/lib/${jar##*/}" ]; then rm "$jar"; fi
    done
    cat >"$folder/plugin-descriptor.properties" <<EOF
name=$1
description=OpenSearch's module $1
version=$OPENSEARCH
opensearch.version=$OPENSEARCH
java.version=11
classname=$3
extended.plugins=${4:-}
has.native.controller=false
EOF
    if [ -e "policies/$1.policy" ]; then cp "policies/$1.policy" "$folder/plugin-security.policy"; fi
}
module transport-netty4 transport-netty4-client org.opensearch.transport.Netty4Plugin
module analysis-common analysis-common org.opensearch.analysis.common.CommonAnalysisPlugin
module lang-painless lang-painless org.opensearch.painless.PainlessPlugin
module mapper-extras mapper-extras-client org.opensearch.index.mapper.MapperExtrasPlugin
module parent-join parent-join-client org.opensearch.join.ParentJoinPlugin
module rank-eval rank-eval-client org.opensearch.index.rankeval.RankEvalPlugin
module reindex reindex-client org.opensearch.index.reindex.ReindexPlugin lang-painless

cp -r config entrypoint.sh Dockerfile "$stage/"
say "building $IMAGE"
docker build -q --label "build-files=$files_hash" -t "$IMAGE" "$stage" >/dev/null
say "built $IMAGE"
