#!/usr/bin/env bash
# Makes the testbed: setup.sh demo|test. What is there already is found at once, without a look at the network; .build/testbed links to each part.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

purpose=${1-}
[[ $purpose == demo || $purpose == test ]] || fail "usage: setup.sh demo|test"
bash "$testbed/packages.sh" "$purpose"

# The parts a purpose needs, each with the scripts that made it: a change of a script makes the part anew.
wanted=(kernel fio ramdisk)
[[ $purpose == test ]] && wanted+=(debian13)
recipe=$(cat "$testbed"/{lib,archive,kernel,fio,ramdisk,add-program,debian13,setup}.sh "$testbed/guest/init" | sha256sum | cut -c 1-16)
complete() {
    local part
    [[ -e $links/recipe && $(cat "$links/recipe") == "$recipe" ]] || return 1
    for part in "${wanted[@]}"; do [[ -e $links/$part ]] || return 1; done
}
complete && exit 0

digest() { cat "$@" | sha256sum | cut -c 1-12; }
# The newest version of a package; a path must not hold the colon of an epoch.
candidate() { bash "$testbed/archive.sh" "$1" cache policy "$2" 2>/dev/null | awk '/Candidate:/ { print $2 }'; }

step "addresses and lists of Debian's archive" bash "$testbed/archive.sh" bookworm cache policy fio
package=$(bash "$testbed/archive.sh" bookworm cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2 }')
version=$(candidate bookworm "$package")
kernel=kernel-${version}-$(digest "$testbed/kernel.sh")
cached "$kernel" kernel.sh "$package" "$version"
link kernel "$cache/$kernel"

version=$(candidate bookworm fio)
fio=fio-$version-$(digest "$testbed/fio.sh")
cached "$fio" fio.sh "$version"
link fio "$cache/$fio"

# The RAM disk also holds programs of this machine: their packages' versions are part of its name.
# shellcheck disable=SC2016 # dpkg-query's own variables
versions=$(dpkg-query -W -f '${Package}=${Version} ' busybox-static e2fsprogs util-linux libc6)
ramdisk=ramdisk-$({ echo "$kernel $fio $versions" && cat "$testbed"/{ramdisk,add-program}.sh "$testbed/guest/init"; } | sha256sum | cut -c 1-12)
cached "$ramdisk" ramdisk.sh "$cache/$kernel" "$cache/$fio"
link ramdisk "$cache/$ramdisk"

if [[ $purpose == test ]]; then
    step "addresses and lists of Debian 13's archive" bash "$testbed/archive.sh" trixie cache policy qemu-utils
    debian13=debian13-$(candidate trixie qemu-system-x86)-$(candidate trixie libblkio1)-$(digest "$testbed/debian13.sh")
    debian13=${debian13//:/.}
    cached "$debian13" debian13.sh
    link debian13 "$cache/$debian13"
fi
printf '%s\n' "$recipe" >"$links/recipe"
