#!/usr/bin/env bash
# Debian's archive without touching the machine's own apt: archive.sh RELEASE APT-GET-ARGUMENT... runs apt-get (or apt-cache with `cache` first) on lists of
# its own, binaries and sources, kept in the cache. The address is the one this machine's apt uses, so a mirror or proxy set up here is used here too.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

release=$1
shift
place=$cache/apt/$release

# The first address from which this machine takes a Debian release (not security or a third party's).
archive_address() {
    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

make_root() {
    local address keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    address=$(archive_address)
    if [[ -z $address ]]; then # no lists at all: a fresh machine
        as_root apt-get update >&2
        address=$(archive_address)
    fi
    [[ -n $address ]] || fail "apt knows no Debian archive on this machine (apt-get indextargets names none)"
    mkdir -p "$place"/{lists/partial,archives/partial}
    : >"$place/status" # nothing is installed there: a download brings every dependency
    printf '%s [signed-by=%s] %s %s main\n' deb "$keyring" "$address" "$release" deb-src "$keyring" "$address" "$release" >"$place/sources.list"
    cat >"$place/apt.conf" <<CONF
Dir::Etc::SourceList "$place/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$place/lists";
Dir::State::Status "$place/status";
Dir::State::Extended_States "$place/extended_states";
Dir::Cache::Archives "$place/archives";
Dir::Cache::PkgCache "";
Dir::Cache::SrcPkgCache "";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
CONF
    APT_CONFIG=$place/apt.conf apt-get update >&2
    mv "$place/apt.conf" "$place/apt.conf.ready"
}

mkdir -p "$cache/locks"
exec {lock}>"$cache/locks/apt-$release"
flock "$lock"
[[ -e $place/apt.conf.ready ]] || make_root

tool=apt-get
[[ $1 == cache ]] && tool=apt-cache && shift
export APT_CONFIG=$place/apt.conf.ready
# A list that is older than the archive names files that are gone: fetch the lists anew, once.
"$tool" "$@" || { [[ $tool == apt-get ]] && apt-get update >&2 && "$tool" "$@"; }
