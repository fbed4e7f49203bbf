#!/usr/bin/env bash
# Counts what the release vhublkd does for one request of the null disk, by callgrind, and fails when a figure of Tests/instructions.json is
# exceeded by more than 3 %, or when a request retains, releases or allocates anything. instructions.sh --record writes the file anew.
#
# One request: 4 KiB read, indirect descriptors, event index, batches of 32, inflight tracking and statistics on. The client waits for a
# server that is fifty times slower than usual, so that every batch is whole; what a turn without work takes, and how many there were, is
# known too and taken off.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

programs=$links/products
recorded=$root/Tests/instructions.json
work=$(mktemp -d)
server=
finish() {
    [[ -z $server ]] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# valgrind 3.19 cannot read the debug information that Swift writes.
strip_debug() { objcopy --remove-section='.debug_*' "$programs/vhublkd" "$work/vhublkd"; }

# trace NAME REQUESTS [BENCH OPTION...]: serves that many requests under callgrind; the counts are in $work/NAME.
trace() {
    local name=$1 requests=$2
    shift 2
    SWIFT_BACKTRACE=enable=no valgrind --tool=callgrind --fair-sched=yes --callgrind-out-file="$work/$name" \
        "$work/vhublkd" --poll busy --blk-file=null:1G --socket-path="$work/$name.sock" >"$work/$name.log" 2>&1 &
    server=$!
    for _ in $(seq 200); do
        [[ -S $work/$name.sock ]] && break
        sleep 0.05
    done
    "$programs/vhublk-bench" --socket "$work/$name.sock" --rw=randread --bs=4k --iodepth=32 --wait=poll --inflight=on \
        --number_ios="$requests" --eta=never "$@" >>"$work/$name.log" 2>&1 || fail "$(tail -n 3 "$work/$name.log")"
    kill "$server"
    wait "$server" || true
    server=
}

# calls NAME PATTERN [CALLER]: how often functions were called whose symbols match, by functions whose symbols match.
calls() {
    awk -v pattern="$2" -v by="${3-}" '
        match($0, /^c?fn=\([0-9]+\)/) {
            key = substr($0, index($0, "("), index($0, ")") - index($0, "(") + 1)
            if (length($0) > RLENGTH) symbol[key] = substr($0, RLENGTH + 2)
            if ($0 ~ /^cfn=/) callee = symbol[key]; else caller = symbol[key]
        }
        /^calls=/ && callee ~ pattern && caller ~ by { split($0, part, "[= ]"); sum += part[2] }
        END { print sum + 0 }' "$work/$1"
}

total() { awk '/^summary:/ { print $2 }' "$work/$1"; }
# Looks at the ring, one a turn, and those of them that found something: the methods of the queues.
turns() { calls "$1" 'NullQueueC4take'; }
busy_turns() { calls "$1" 'NullQueueC8complete'; }
idle_turns() { echo $(($(turns "$1") - $(busy_turns "$1"))); }
# What touches reference counts and the heap, called from the data path.
managed() {
    calls "$1" '^(swift_retain|swift_release|swift_bridgeObjectRetain|swift_bridgeObjectRelease|swift_allocObject|malloc|free)$' 'NullQueueC(4take|8complete)'
}

# measure NAME [BENCH OPTION...]: prints the instructions per request; fails when one touches the heap.
measure() {
    local name=$1 short=20000 long=120000 few=640
    shift
    trace "$name-few" $few --rate_iops=2000 "$@"
    trace "$name-short" $short "$@"
    trace "$name-long" $long "$@"
    local touched=$(($(managed "$name-long") - $(managed "$name-short")))
    ((touched < (long - short) / 1000)) || fail "$name: $touched retains, releases and allocations in $((long - short)) requests"
    # few = begin + few * request + idle_few * turn, and so on: two differences, solved for request.
    awk -v t1="$(total "$name-few")" -v n1=$few -v i1="$(idle_turns "$name-few")" \
        -v t2="$(total "$name-short")" -v n2=$short -v i2="$(idle_turns "$name-short")" \
        -v t3="$(total "$name-long")" -v n3=$long -v i3="$(idle_turns "$name-long")" 'BEGIN {
            determinant = (n3 - n2) * (i2 - i1) - (n2 - n1) * (i3 - i2)
            printf "%.1f\n", ((t3 - t2) * (i2 - i1) - (t2 - t1) * (i3 - i2)) / determinant
        }'
}

strip_debug
split=$(measure split)
packed=$(measure packed --packed)
printf '  instructions per request: split %s, packed %s\n' "$split" "$packed"
if [[ ${1-} == --record ]]; then
    jq -n --argjson split "$split" --argjson packed "$packed" '{split: $split, packed: $packed}' >"$recorded"
    exit
fi
for format in split packed; do
    limit=$(jq ".$format * 1.03" "$recorded")
    awk -v value="${!format}" -v limit="$limit" 'BEGIN { exit !(value <= limit) }' ||
        fail "$format: ${!format} instructions per request, $limit are the limit (Tests/instructions.json and 3 %)"
done
