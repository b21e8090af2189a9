#!/bin/bash
# Settings are environment variables, as in the official image: discovery.type=single-node and the like.
# Unlike there, the security plugin is off unless DISABLE_SECURITY_PLUGIN=false, because the image has no certificates for it.
cd /usr/share/opensearch || exit 1
settings=()
while IFS='=' read -r -d '' name value; do
    if [[ $name =~ ^[a-z0-9_]+\.[a-z0-9_.]+$ ]]; then settings+=("-E$name=$value"); fi
done < <(env -0)
if [ "${DISABLE_SECURITY_PLUGIN:-true}" = true ]; then settings+=(-Eplugins.security.disabled=true); fi
# shellcheck disable=SC2086  # the options are words
exec java -Xms1g -Xmx1g -XX:+UseG1GC -Dfile.encoding=UTF-8 -Djava.awt.headless=true -Djava.security.manager=allow \
    -Djna.nosys=true -Djava.locale.providers=SPI,COMPAT -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true \
    -Dio.netty.recycler.maxCapacityPerThread=0 -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true \
    -Dopensearch.path.home="$PWD" -Dopensearch.path.conf="$PWD/config" -Dopensearch.distribution.type=tar \
    ${OPENSEARCH_JAVA_OPTS:-} -cp 'lib/*' org.opensearch.bootstrap.OpenSearch "${settings[@]}"
