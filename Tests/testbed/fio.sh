#!/usr/bin/env bash
# step: fio, built static from Debian's source
# fio.sh FOLDER VERSION: Debian's own fio drags 80 MiB of libraries into a guest; built static and without the optional engines it is 3 MiB.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

folder=$1 version=$2
cd "$folder"
bash "$testbed/archive.sh" bookworm source --download-only "fio=$version"
dpkg-source --no-check -x fio_*.dsc source
cd source
./configure --build-static --disable-numa --disable-rdma --disable-rados --disable-rbd --disable-http --disable-gfapi --disable-pmem --disable-libzbc \
    --disable-libnfs --disable-xnvme --disable-tcmalloc --disable-native --disable-lex
make -j"$(nproc)" fio
strip -o "$folder/fio" fio
cd "$folder"
./fio --version
rm -rf source fio_*
