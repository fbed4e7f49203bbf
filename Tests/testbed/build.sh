#!/usr/bin/env bash
# Builds the programs people run, in release and with the Swift runtime linked in, into .build/products/release; says nothing but the time it took.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
products=.build/products
# A folder of its own keeps this build apart from those of the tests: each finds its own results up to date.
programs() {
    local name
    for name in vhublkd vhublkctl vhublk-bench; do
        swift build -c release --static-swift-stdlib --scratch-path "$products" --product "$name"
    done
}
step "vhublkd, vhublkctl and vhublk-bench, built in release" programs
link products "$root/$products/release"
