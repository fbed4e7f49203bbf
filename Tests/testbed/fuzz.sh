#!/usr/bin/env bash
# Runs the fuzzers of Tests/Fuzz: fuzz.sh SECONDS [NAME...], all of them when none is named, one on each CPU at a time.
#
# SEED and RUNS, in the environment, make a run repeatable: the same inputs in the same order, so many of them at most (`make test` does so).
# An input that breaks a promise is kept in .build/fuzzing/findings, and what replays it is printed. What the fuzzers learn is kept in
# .build/fuzzing/corpus for the next run; `fuzz.sh keep [NAME...]` writes the few inputs that reach most to Tests/Fuzz/Corpus.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
seconds=${1-60}
shift || true
sources=Tests/Fuzz
place=.build/fuzzing
mapfile -t all < <(find "$sources/Corpus" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort)
names=("$@")
[[ ${#names[@]} == 0 ]] && names=("${all[@]}")
for name in "${names[@]}"; do
    [[ -d $sources/Corpus/$name ]] || fail "there is no fuzzer '$name'; there are ${all[*]}"
done
[[ $seconds == keep || $seconds =~ ^[1-9][0-9]*$ ]] || fail "'$seconds' is no number of seconds: fuzz.sh SECONDS [NAME...]"

# A folder of its own: everything in it is instrumented. Assertions are on, as in the tests; @testable wants -enable-testing in release.
step "the fuzzers, built with libFuzzer and the address sanitizer" \
    env VHUBLK_FUZZ=1 swift build -c release --product vhublk-fuzz --scratch-path .build/fuzz --sanitize fuzzer --sanitize address -Xswiftc -sanitize=fuzzer,address \
    -Xswiftc -enable-testing -Xswiftc -assert-config -Xswiftc Debug
mkdir -p "$place/programs" "$place/findings" "$place/corpus" "$place/logs"
for name in "${names[@]}"; do
    # The program is whichever fuzzer its name says.
    ln -f .build/fuzz/release/vhublk-fuzz "$place/programs/$name"
    mkdir -p "$place/corpus/$name"
done
# State files are written for every input: in memory where that is possible.
TMPDIR=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo /tmp)")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
ulimit -c 0
export SWIFT_BACKTRACE=enable=no

# 2 KiB hold dozens of messages or chains; a hang is an input that takes more than ten seconds. Looking for leaks after each input takes
# a hundred times as long: that is for the tests that count.
options=(-max_len=2048 -detect_leaks=0 -timeout=10 -rss_limit_mb=3072 -print_final_stats=1)

# fuzz NAME: one fuzzer for $seconds; its last words are in the log.
fuzz() {
    local name=$1 dictionary=$sources/Dictionaries/$1.dict more=()
    [[ -f $dictionary ]] && more+=("-dict=$dictionary")
    [[ -n ${SEED:-} ]] && more+=("-seed=$SEED")
    [[ -n ${RUNS:-} ]] && more+=("-runs=$RUNS")
    "$place/programs/$name" "${options[@]}" "${more[@]}" -max_total_time="$seconds" -artifact_prefix="$place/findings/$name-" \
        "$place/corpus/$name" "$sources/Corpus/$name" >"$place/logs/$name.log" 2>&1 </dev/null
}

# value LOG PATTERN: the last number that follows the pattern.
value() { grep -aoE "$2 *[0-9]+" "$1" | grep -oE '[0-9]+$' | tail -n 1; }

# tell NAME STATUS: one line, and for a finding how to see it again.
tell() {
    local name=$1 log=$place/logs/$1.log finding
    if [[ $2 == 0 ]]; then
        printf '  %-62s %s%9s%s\n' \
            "$name: $(value "$log" 'number_of_executed_units:') executions, $(value "$log" 'cov:') edges" "$dim" "$seconds s" "$plain"
        return
    fi
    finding=$(grep -aoE "Test unit written to [^ ]+" "$log" | tail -n 1 | cut -d ' ' -f 5)
    printf '  %s%s: a promise is broken%s\n' "$red" "$name" "$plain"
    grep -aE 'Fatal error|ERROR:|SUMMARY:|Assertion' "$log" | tail -n 4 | cut -c 1-300 | sed 's/^/    /'
    printf '    the log: %s\n' "$log"
    [[ -n $finding ]] && printf '    again:   %s %s\n' "$place/programs/$name" "$finding"
    return 1
}

if [[ $seconds == keep ]]; then
    for name in "${names[@]}"; do
        mkdir "$TMPDIR/$name"
        step "$name: a small corpus" \
            "$place/programs/$name" -set_cover_merge=1 "${options[@]}" -max_len=1024 "$TMPDIR/$name" "$sources/Corpus/$name" "$place/corpus/$name"
        rm -f "$sources/Corpus/$name"/*
        # They are written in the order of what each adds; the last ones add an edge or two, which the fuzzer finds again at once.
        find "$TMPDIR/$name" -type f -printf '%T@ %p\n' | sort -n | head -n 64 | cut -d ' ' -f 2 |
            xargs cp --target-directory "$sources/Corpus/$name"
        printf '    %s inputs, %s bytes\n' "$(find "$sources/Corpus/$name" -type f | wc -l)" "$(cat "$sources/Corpus/$name"/* | wc -c)"
    done
    exit 0
fi

cpus=$(nproc)
broken=0
for ((first = 0; first < ${#names[@]}; first += cpus)); do
    batch=("${names[@]:first:cpus}")
    pids=()
    for name in "${batch[@]}"; do
        fuzz "$name" &
        pids+=("$!")
    done
    for index in "${!batch[@]}"; do
        status=0
        wait "${pids[index]}" || status=$?
        tell "${batch[index]}" "$status" || broken=1
    done
done
[[ $broken == 0 ]] || fail "a fuzzer found something; make it a unit test of the module it is in when it is put right"
