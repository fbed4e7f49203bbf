#!/usr/bin/env bash
# Runs the unit, component and simulation suites under the address and the thread sanitizer: sanitizers.sh [address|thread...], both when
# none is named. Guests and clients are left out: they meet the release programs, which have no sanitizer.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
sanitizers=("$@")
[[ ${#sanitizers[@]} == 0 ]] && sanitizers=(address thread)
ulimit -c 0
export SWIFT_BACKTRACE=enable=no
# As in tests.sh.
SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH=$(nproc)
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH

# Suites left out, and why:
# - IntegrationTests need the release programs.
# - TidyTests read the sources, and run no code of the house.
# Single tests left out, because a sanitizer's own doings are what they would measure:
# - idleDaemonIsNotWoken counts how often a daemon without work wakes up; the thread sanitizer's background thread wakes ten times a second.
left_out='^(IntegrationTests|TidyTests)\.|idleDaemonIsNotWoken'

for sanitizer in "${sanitizers[@]}"; do
    scratch=.build/sanitize-$sanitizer
    reports=$root/$scratch/report
    step "all tests, built with the $sanitizer sanitizer" swift build --build-tests --sanitize "$sanitizer" --scratch-path "$scratch"
    rm -f "$reports".*
    # Reports go to files of their own, also those of daemons that a test starts and whose output nobody reads. SIGBUS is the memory guard's,
    # whose tests die of it where they should.
    options="handle_sigbus=0 log_path=$reports"
    export ASAN_OPTIONS="detect_leaks=0 suppressions=$root/Tests/testbed/address.supp $options" TSAN_OPTIONS=$options
    export VHUBLK_TEST_SANITIZER=$sanitizer
    # Simulations, which only compute, after the others, many of which wait for threads in real time.
    for suites in "--skip $left_out|SimulationTests" '--filter SimulationTests'; do
        log=$scratch/tests.log
        [[ $suites == --filter* ]] && log=$scratch/simulations.log
        status=0
        timeout --foreground 3000 "$scratch/debug/vhublkPackageTests.xctest" --testing-library swift-testing "${suites%% *}" "${suites#* }" \
            >"$log" 2>&1 || status=$?
        found=("$reports".*)
        if [[ -e ${found[0]} ]]; then
            head -n 60 "${found[0]}" >&2
            fail "${#found[@]} reports of the $sanitizer sanitizer: $scratch/report.*"
        fi
        if [[ $status != 0 ]]; then
            grep -a 'recorded an issue' "$log" >&2 || tail -n 30 "$log" >&2
            fail "tests fail under the $sanitizer sanitizer: $log"
        fi
        printf '  %s\n' "$(tail -n 1 "$log"), $sanitizer sanitizer"
    done
done
