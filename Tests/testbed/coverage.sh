#!/usr/bin/env bash
# Holds the coverage of lines that Tests/coverage.json promises for each module named there, by the modules' own unit and component tests, in a debug build.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
figures=Tests/coverage.json
place=(--scratch-path .build/coverage --enable-code-coverage)
step "all tests, built for coverage" swift build --build-tests "${place[@]}"
step "unit tests of the modules whose coverage is held" swift test --skip-build "${place[@]}" --filter '^(VirtioTests|VhostUserTests)\.'

# llvm-cov's export names each source file with the lines it has and the lines that ran.
measured=$(jq --slurpfile promised "$figures" '
    [.data[0].files[] | {module: (.filename | capture("/Sources/(?<name>[^/]+)/").name?), lines: .summary.lines} | select(.module != null)]
    | group_by(.module) | map({key: .[0].module, value: (100 * (map(.lines.covered) | add) / (map(.lines.count) | add))}) | from_entries as $now
    | $promised[0] | to_entries | map({module: .key, promised: .value, now: ($now[.key] // 0)})' .build/coverage/debug/codecov/vhublk.json)
jq -r '.[] | "\(.module) \(.promised) \(.now * 10 | floor / 10)"' <<<"$measured" | while read -r module promised now; do
    printf '  %-62s %s\n' "coverage of $module: $now % of lines" "${dim}promised: $promised %${plain}"
done
jq -e 'all(.now >= .promised and .promised >= 90)' <<<"$measured" >/dev/null || fail "coverage is below what $figures promises (and 90 %)"
