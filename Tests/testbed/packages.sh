#!/usr/bin/env bash
# Installs the Debian packages that a target of the Makefile needs: packages.sh build|demo|test|bench. Asks nothing; when all are there it touches neither apt nor the network.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

build=(libaio-dev libc6-dev liburing-dev libnuma-dev pkg-config)
# The guest: QEMU, what its initial RAM disk is made of, what fio is built with, and jq for fio's figures.
demo=(qemu-system-x86 busybox-static cpio kmod e2fsprogs xz-utils zstd gcc make dpkg-dev debian-archive-keyring jq util-linux)
# Peers and tools of the tests: qemu-storage-daemon 7.2, a C++ free build of blkio-bench, the scripts' lint, systemd-analyze, files that fail,
# callgrind; the host's own fio for a short run of the benchmarks.
test=(qemu-utils qemu-system-common shellcheck systemd procps python3 nbdkit libnbd-bin fuse3 valgrind binutils fio)
# The benchmarks' plots.
bench=(python3-matplotlib)

case ${1-} in
build) wanted=("${build[@]}") ;;
demo) wanted=("${build[@]}" "${demo[@]}") ;;
test) wanted=("${build[@]}" "${demo[@]}" "${test[@]}") ;;
bench) wanted=("${build[@]}" "${demo[@]}" "${test[@]}" "${bench[@]}") ;;
*) fail "usage: packages.sh build|demo|test|bench" ;;
esac

missing=()
for name in "${wanted[@]}"; do
    # shellcheck disable=SC2016 # dpkg-query's own variable
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || missing+=("$name")
done
[[ ${#missing[@]} == 0 ]] && exit 0

install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}"
}
# A machine that never ran apt-get update, or did so long ago that the archive has moved on, gets its lists first.
update_and_install() {
    as_root apt-get update -o DPkg::Lock::Timeout=300 && install
}
# A fresh machine's lists may be missing or old: try as it is only where lists are there.
install_with_fresh_lists() { install || update_and_install; }
printf '  installing %s\n' "${missing[*]}"
step "Debian packages: ${#missing[@]} installed" install_with_fresh_lists
