#!/usr/bin/env bash
# Installs the programs built in BUILD_DIR and what belongs to them: install.sh PREFIX DESTDIR BUILD_DIR
# PREFIX is where they run (/usr/local), DESTDIR is put before every path (for packages; may be empty).
set -euo pipefail

usage="usage: install.sh PREFIX DESTDIR BUILD_DIR"
prefix=${1:?$usage}
destdir=${2-}
build=${3:?$usage}
deploy=$(cd "$(dirname "$0")" && pwd)
[[ $prefix == /* ]] || { echo "install.sh: PREFIX must be an absolute path, not '$prefix'" >&2; exit 2; }
prefix=${prefix%/}
# Configuration is where people look for it when the prefix is one of the system's own.
case $prefix in
"" | /usr | /usr/local) sysconfdir=/etc ;;
*) sysconfdir=$prefix/etc ;;
esac
bindir=$prefix/bin
share=$prefix/share

made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
"$deploy/man.sh" "$build" "$made" >/dev/null

put() { # MODE SOURCE TARGET
    install -D -m "$1" "$2" "$destdir$3"
}
put_filled() { # SOURCE TARGET: with the paths put in
    sed -e "s|@BINDIR@|$bindir|g" -e "s|@SYSCONFDIR@|$sysconfdir|g" "$1" >"$made/filled"
    put 0644 "$made/filled" "$2"
}

for program in vhublkd vhublkctl vhublk-bench; do
    put 0755 "$build/$program" "$bindir/$program"
    put 0644 "$made/completions/$program.bash" "$share/bash-completion/completions/$program"
    put 0644 "$made/completions/$program.zsh" "$share/zsh/site-functions/_$program"
    put 0644 "$made/completions/$program.fish" "$share/fish/vendor_completions.d/$program.fish"
done
for page in "$made"/man/*; do
    put 0644 "$page" "$share/man/man${page##*.}/${page##*/}"
done
put_filled "$deploy/vhublkd.service.in" "$prefix/lib/systemd/system/vhublkd.service"
put 0644 "$deploy/vhublk.sysusers.conf" "$prefix/lib/sysusers.d/vhublk.conf"
put 0644 "$deploy/vhublk.tmpfiles.conf" "$prefix/lib/tmpfiles.d/vhublk.conf"
put_filled "$deploy/50-vhublk.json.in" "$share/qemu/vhost-user/50-vhublk.json"
put 0644 "$deploy/vhublkd.toml" "$share/doc/vhublk/vhublkd.toml"
put 0644 "$deploy/libvirt-domain.xml" "$share/doc/vhublk/libvirt-domain.xml"
for document in "$deploy"/../LICENSE "$deploy"/../README.md "$deploy"/../CHANGELOG.md "$deploy"/../docs/*.md "$deploy"/../docs/openrpc.json; do
    [[ ! -f $document ]] || put 0644 "$document" "$share/doc/vhublk/${document##*/}"
done
# A configuration that somebody may have written stays.
if [[ ! -e $destdir$sysconfdir/vhublk/vhublkd.toml ]]; then
    put 0644 "$deploy/vhublkd.toml" "$sysconfdir/vhublk/vhublkd.toml"
fi

if [[ -z $destdir && $EUID == 0 ]] && command -v systemctl >/dev/null; then
    cat <<EOF
installed below $prefix; to start vhublkd now and at every boot:
  systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && systemctl enable --now vhublkd
EOF
fi
