#!/usr/bin/env bash
# step: a Debian kernel for the guests, unpacked
# kernel.sh FOLDER PACKAGE VERSION: the kernel's image and modules, out of its package, with the modules' dependencies worked out.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

folder=$1 package=$2 version=$3
cd "$folder"
bash "$testbed/archive.sh" bookworm download "$package=$version"
dpkg-deb -x "$package"_*.deb unpacked
release=$(basename unpacked/lib/modules/*)
mv "unpacked/boot/vmlinuz-$release" vmlinuz
mkdir -p lib/modules
mv "unpacked/lib/modules/$release" lib/modules/
depmod -b "$folder" "$release"
printf '%s\n' "$release" >release
rm -rf unpacked "$package"_*.deb
