#!/usr/bin/env bash
# kill.sh FILTER ROUNDS: a long run of the tests that kill the daemon, or its clients, with what they measure.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
place=(--scratch-path .build/coverage --enable-code-coverage)
step "the tests" swift build --build-tests "${place[@]}"
ulimit -c 0
export SWIFT_BACKTRACE=enable=no VHUBLK_TEST_ROUNDS=$2
swift test --skip-build "${place[@]}" --filter "$1"
