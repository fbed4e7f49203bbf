#!/usr/bin/env bash
# overlay.sh FILE PROGRAM...: makes a further initial RAM disk that brings programs of this machine, with their libraries, into a guest.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

file=$1
shift
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
for program in "$@"; do
    "$testbed/add-program.sh" "$tree" "$(command -v "$program")"
    strip "$tree/bin/$(basename "$program")" 2>/dev/null || true
done
(cd "$tree" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) | gzip -1 >"$file"
