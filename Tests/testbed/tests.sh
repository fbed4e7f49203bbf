#!/usr/bin/env bash
# Builds all tests in release and runs them; the last line is the test runner's own.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
step "all tests, built in release" swift build -c release --build-tests -Xswiftc -enable-testing
exec swift test -c release --skip-build -Xswiftc -enable-testing
