#!/usr/bin/env bash
# step: the guests' initial RAM disk
# ramdisk.sh FOLDER KERNEL-FOLDER FIO-FOLDER: busybox, the virtio drivers, fio, and of e2fsprogs and util-linux what busybox does not do as well.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

folder=$1 kernel=$2 fio=$3
tree=$folder/tree
mkdir -p "$tree"/{bin,sbin,proc,sys,dev,tmp,run,mnt}
cp /bin/busybox "$tree/bin/busybox"
cp "$fio/fio" "$tree/bin/fio"
install -m 755 "$testbed/guest/init" "$tree/init"
for program in mkfs.ext4 e2fsck blkdiscard; do
    "$testbed/add-program.sh" "$tree" "$(PATH=/sbin:/usr/sbin:$PATH command -v "$program")" /sbin
done
# The order in which the drivers are loaded is modprobe's.
for driver in virtio_pci virtio_blk; do
    modprobe --dirname "$kernel" --set-version "$(cat "$kernel/release")" --show-depends "$driver"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    cp "$module" "$tree/"
    echo "/$(basename "$module")"
done >"$tree/modules"
(cd "$tree" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) | gzip -1 >"$folder/ramdisk"
rm -rf "$tree"
