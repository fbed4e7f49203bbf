#!/usr/bin/env bash
# Runs all tests, as coverage.sh built them: assertions on. What guests and clients meet in them are the release programs of build.sh. The
# last line is the test runner's own.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
# A process that dies while the kernel works for its rings has hung in its core dump, and Swift's backtracer takes minutes.
ulimit -c 0
export SWIFT_BACKTRACE=enable=no
exec timeout --foreground 3000 swift test --skip-build --scratch-path .build/coverage --enable-code-coverage
