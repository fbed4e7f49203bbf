#!/usr/bin/env bash
# simulate.sh SECONDS FIRST SEED RULES: builds the simulator in release and runs it: for SECONDS from the seed FIRST on; or the history of SEED; or, with RULES, with each rule broken in turn.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
products=.build/products
step "the simulator, built in release" swift build -c release --static-swift-stdlib --scratch-path "$products" --product simulate
if [[ -n ${4:-} ]]; then
    exec "$products/release/simulate" --rules
elif [[ -n ${3:-} ]]; then
    exec "$products/release/simulate" --seed "$3" --trace
else
    exec "$products/release/simulate" --seconds "$1" --first "${2:-1}"
fi
