#!/bin/busybox sh
# shellcheck shell=dash
# What bench/guest.py runs inside its guests: every job file of this folder, its result as JSON. Lines that begin with @ are for guest.py.
set -- /sys/block/vd*
disk=$(basename "$1")
[ -b "/dev/$disk" ] || { echo "@fault no virtio disk in the guest" && exit 1; }
DISK=/dev/$disk JOBS=$(nproc) SECONDS=$(cat /run/seconds)
export DISK JOBS SECONDS
# Holes of the image would be read without touching the host's disk.
dd if=/dev/urandom of=/tmp/random bs=1M count=1 2>/dev/null
for number in $(seq 0 $(($(cat "/sys/block/$disk/size") / 2048 - 1))); do
    dd if=/tmp/random of="$DISK" bs=1M seek="$number" conv=notrunc 2>/dev/null || { echo "@fault the disk cannot be written" && exit 1; }
done
for job in /run/*.fio; do
    echo "@job $(basename "$job" .fio)"
    fio --output-format=json "$job" 2>/tmp/errors || { echo "@fault $(cat /tmp/errors)" && exit 1; }
    echo "@done"
done
