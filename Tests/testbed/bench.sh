#!/usr/bin/env bash
# A short run of the comparison: that it measures, not what. Timings of a shared machine hold nothing.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
results=$links/bench
step "the comparison with other servers, a short run" bench/compare.py null tmpfs --rounds 1 --seconds 0.1 --rows table,paced --no-plots \
    --output "$results" --peer "again=$links/products/vhublkd --socket-path={socket} --blk-file={backing}"
# Five rows of the null disk, six of tmpfs: what each of the three kinds of server reached.
jq -e '[.rows[].servers | .vhublkd.iops, (.qsd // ."qsd-libaio").iops, .again.iops] | length == 33 and all(. > 0)' "$results/compare.json" >/dev/null ||
    fail "the comparison lacks figures: $(grep -c . "$results/compare.md") lines in $results/compare.md"
# Memory is held to its goal; the times of a shared machine are not.
step "start-up times and resident memory" bench/sizes.py --rounds 1
step "micro benchmarks, built in release" swift build -c release --package-path bench/micro --scratch-path .build/micro
step "micro benchmarks, two of them" bench/micro.py split packed --json "$results/micro.json"
jq -e '.split > 100 and .packed > 100' "$results/micro.json" >/dev/null || fail "the micro benchmarks count nothing: $(cat "$results/micro.json")"
