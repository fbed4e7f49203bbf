#!/usr/bin/env bash
# Runs all tests, as coverage.sh built them: assertions on. What guests and clients meet in them are the release programs of build.sh. The
# last line is the test runner's own.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
# A process that dies while the kernel works for its rings has hung in its core dump, and Swift's backtracer takes minutes.
ulimit -c 0
export SWIFT_BACKTRACE=enable=no
# As many tests side by side as there are processors: most of them wait in real time for what the daemon's threads do.
SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$(nproc)
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH
log=.build/testbed/tests.log
mkdir -p "${log%/*}"
timeout --foreground 3000 swift test --skip-build --scratch-path .build/coverage --enable-code-coverage | tee "$log" || {
    status=$?
    # Suites run side by side and print much: what failed is said once more, then the runner's own closing line.
    printf '\nWhat failed (all of it is in %s):\n' "$log"
    grep -a -A 15 'recorded an issue' "$log" | head -n 150 || true
    tail -n 1 "$log"
    exit "$status"
}
