#!/usr/bin/env bash
# Makes the manual pages and shell completions of the programs in BUILD_DIR (a SwiftPM folder such as .build/products/release) from their own
# argument definitions: man.sh BUILD_DIR OUT_DIR
set -euo pipefail

build=${1:?usage: man.sh BUILD_DIR OUT_DIR}
out=${2:?usage: man.sh BUILD_DIR OUT_DIR}
root=$(cd "$(dirname "$0")/.." && pwd)
# The date of the pages is that of the last change, so that the same sources give the same pages.
date=$(git -C "$root" log -1 --format=%cs 2>/dev/null || date +%F)

if [[ ! -x $build/generate-manual ]]; then
    # swift-argument-parser's own tool, built where and as the programs were (Tests/testbed/build.sh): other flags would build all anew.
    scratch=$(cd "$build/.." && pwd)
    swift build --package-path "$root" --scratch-path "$scratch" --configuration "$(basename "$build")" --static-swift-stdlib \
        --product generate-manual
fi

mkdir -p "$out/man" "$out/completions"
for program in vhublkd:8 vhublkctl:1 vhublk-bench:1; do
    "$build/generate-manual" "$build/${program%:*}" --section "${program#*:}" --date "$date" --output-directory "$out/man"
done
for program in vhublkd vhublkctl vhublk-bench; do
    for shell in bash zsh fish; do
        "$build/$program" --generate-completion-script "$shell" >"$out/completions/$program.$shell"
    done
done
