#!/usr/bin/env bash
# add-program.sh TREE PROGRAM [FOLDER]: copies a program, with the shared libraries it needs, into a file tree that will be a guest's.
set -euo pipefail

tree=$1 program=$2 folder=${3:-/bin}
mkdir -p "$tree$folder"
cp -L "$program" "$tree$folder/"
# ldd names each library as `name => path (address)`, and the loader as `path (address)`; a static program has neither.
{ ldd "$program" 2>/dev/null || true; } | sed -nE 's/.*[[:space:]](\/[^ ]+) \(.*/\1/p' | while read -r library; do
    mkdir -p "$tree$(dirname "$library")"
    cp -Ln "$library" "$tree$library"
done
