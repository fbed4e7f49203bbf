#!/usr/bin/env bash
# Checks that need no build: the format of the Swift sources and the scripts' lint.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
step "format of the Swift sources" swift format lint --strict --parallel --recursive Package.swift Sources Tests bench
mapfile -t scripts < <(git ls-files '*.sh' .ci/run 'Tests/testbed/guest/*')
step "shellcheck of ${#scripts[@]} scripts" shellcheck --external-sources "${scripts[@]}"
step "unit tests of the benchmarks' figures" /usr/bin/python3 -m unittest discover -s bench -t bench
