# Functions of the build.sh scripts, which source this file. They set `me`, the prefix of their messages.
export PATH=$PATH:/usr/sbin:/sbin # where debootstrap is

say() { echo "$me: $*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# made_from IMAGE: print the hash of the files that the image was made from, or nothing if there is no such image
made_from() { docker image inspect --format '{{ index .Config.Labels "build-files" }}' "$1" 2>/dev/null || true; }

# digest_of IMAGE: print NAME@sha256:..., by which a registry knows the image, or nothing if it never was in one
digest_of() { docker image inspect --format '{{ range .RepoDigests }}{{ println . }}{{ end }}' "$1" | sed -n 1p; }

# need TOOL...: exit with the packages to install if a tool is missing
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" >/dev/null || { say "$tool is missing: apt-get install docker.io maven debootstrap default-jdk-headless"; exit 1; }
    done
}

# debian_base IMAGE PACKAGES: make a Debian bookworm image with these packages (separated by commas), unless it exists
debian_base() {
    if docker image inspect "$1" >/dev/null 2>&1; then return; fi
    need debootstrap
    say "making $1"
    local folder mirror= # this machine's own mirror if it runs Debian, else debootstrap's default
    folder=$(mktemp -d)
    if grep -qs '^ID=debian' /etc/os-release; then
        mirror=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] *\)\?\(http[^ ]*\).*/\2/p' \
            /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null | sed -n 1p) || true
    fi
    if ! as_root env PATH="$PATH" debootstrap --variant=minbase --include="$2" bookworm "$folder/debian" ${mirror:+"$mirror"} >"$folder/log" 2>&1; then
        tail -n 20 "$folder/log" >&2
        as_root rm -rf "$folder"
        exit 1
    fi
    (cd "$folder/debian" && as_root rm -rf var/cache/apt var/lib/apt/lists var/log usr/share/doc usr/share/man usr/share/locale)
    as_root tar -C "$folder/debian" -c . | docker import - "$1" >/dev/null
    as_root rm -rf "$folder"
}
