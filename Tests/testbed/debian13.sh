#!/usr/bin/env bash
# step: QEMU 10 and libblkio, out of Debian 13
# debian13.sh FOLDER: packages of the next Debian and all they depend on, unpacked into one tree and run in place through the tree's own dynamic loader, so that
# paths, sockets and users are the host's. No chroot, no root rights. bin/ holds a starter for each program.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

folder=$1
cd "$folder"
mkdir -p tree bin archives/partial
bash "$testbed/archive.sh" trixie -qq install -y --download-only \
    -o Dir::Cache::Archives="$folder/archives" qemu-system-x86 qemu-utils qemu-block-extra libblkio1 libblkio-dev
for package in archives/*.deb; do
    dpkg-deb -x "$package" tree
done
rm -rf archives

# The cache renames this folder once it is complete, so a starter finds the tree beside itself.
for program in qemu-system-x86_64 qemu-img qemu-io qemu-storage-daemon; do
    cat >"bin/$program" <<'STARTER'
#!/usr/bin/env bash
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
program=$(basename "$0")
libraries=$here/tree/usr/lib/x86_64-linux-gnu
firmware=()
[[ $program == qemu-system-* ]] && firmware=(-L "$here/tree/usr/share/qemu" -L "$here/tree/usr/share/seabios")
export QEMU_MODULE_DIR=$libraries/qemu
exec "$libraries/ld-linux-x86-64.so.2" --argv0 "$program" --library-path "$libraries" "$here/tree/usr/bin/$program" "${firmware[@]}" "$@"
STARTER
    chmod +x "bin/$program"
done
bin/qemu-system-x86_64 --version

# libblkio's example program is a benchmark of its own, and a vhost-user front-end that nobody here wrote. The library alone also runs on Debian 12's libc.
mkdir lib
cp -L tree/usr/lib/x86_64-linux-gnu/libblkio.so.1 lib/
# shellcheck disable=SC2016 # $ORIGIN is the dynamic loader's, not the shell's
gcc -O2 -pthread -Itree/usr/include -o bin/blkio-bench tree/usr/share/doc/libblkio-dev/examples/blkio-bench.c lib/libblkio.so.1 -Wl,-rpath,'$ORIGIN/../lib'
bin/blkio-bench -h >/dev/null
