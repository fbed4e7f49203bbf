#!/usr/bin/env bash
# Measures vhublkd beside qemu-storage-daemon on this machine: bench/compare.sh [PATH ...]
#
# Every server serves the same medium on one CPU, the client (vhublk-bench) runs on another. All servers of a row are started at once and
# stopped (SIGSTOP) but for the one that is being measured; rounds of a second go round and round between them, and the medians are
# printed, so that a change of the machine's speed meets all of them. PATH: files to measure besides the null disk and tmpfs; copies of them
# are written to, beside them. Settings by environment: ROUNDS (5), SERVER_CPU (1), CLIENT_CPU (0).
# PEERS adds servers: PEERS='name=command with {socket} and {backing}', one a line; the command serves vhost-user-blk at {socket}.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/../Tests/testbed/lib.sh"

rounds=${ROUNDS:-5}
server_cpu=${SERVER_CPU:-1}
client_cpu=${CLIENT_CPU:-0}
programs=$links/products
work=$(mktemp -d)
shared=$(mktemp -d -p /dev/shm)
declare -A pids=()
declare -A figures=()
results=$work/results.jsonl

finish() {
    for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null && kill "$pid" 2>/dev/null; done || true
    rm -rf "$work" "$shared"
}
trap finish EXIT

# serve NAME COMMAND...: starts a server on its CPU, waits for its socket, and holds it.
serve() {
    local name=$1
    shift
    taskset -c "$server_cpu" "$@" >"$work/$name.log" 2>&1 &
    pids[$name]=$!
    for _ in $(seq 100); do
        [[ -S $work/$name.sock ]] && break
        sleep 0.05
    done
    [[ -S $work/$name.sock ]] || fail "$name did not start: $(tail -n 3 "$work/$name.log")"
    kill -STOP "${pids[$name]}"
}

stop_all() {
    for name in "${!pids[@]}"; do
        kill -CONT "${pids[$name]}" && kill "${pids[$name]}"
        wait "${pids[$name]}" 2>/dev/null || true
    done
    pids=()
}

# storage_daemon NAME BLOCKDEV: qemu-storage-daemon with an I/O thread of its own.
storage_daemon() {
    serve "$1" qemu-storage-daemon --object iothread,id=io --blockdev "$2,node-name=disk" \
        --export "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=$work/$1.sock,writable=on,iothread=io"
}

# start BACKING: all servers for a medium; `null` or a path.
start() {
    local backing=$1 engine
    if [[ $backing == null ]]; then
        serve vhublkd "$programs/vhublkd" --socket-path="$work/vhublkd.sock" --blk-file=null:1G --cpus "$server_cpu"
        storage_daemon qsd "driver=null-co,size=1073741824,read-zeroes=off"
    else
        for engine in io_uring libaio; do
            serve "vhublkd-$engine" "$programs/vhublkd" --socket-path="$work/vhublkd-$engine.sock" --blk-file="$copies/$engine" \
                --engine "$engine" --cpus "$server_cpu"
        done
        storage_daemon qsd-io_uring "driver=file,filename=$copies/qsd,cache.direct=on,aio=io_uring,locking=off"
        storage_daemon qsd-libaio "driver=file,filename=$copies/qsd,cache.direct=on,aio=native,locking=off"
    fi
    local name command
    while IFS='=' read -r name command; do
        [[ -n $name ]] || continue
        command=${command//\{socket\}/$work/$name.sock}
        read -ra words <<<"${command//\{backing\}/$backing}"
        serve "$name" "${words[@]}"
    done <<<"${PEERS:-}"
}

# one NAME RW DEPTH WAIT: a round of a second; prints the IOPS.
one() {
    kill -CONT "${pids[$1]}"
    taskset -c "$client_cpu" "$programs/vhublk-bench" --socket "$work/$1.sock" --rw="$2" --bs=4k --iodepth="$3" --wait="$4" \
        --runtime=1 --time_based --inflight=on --eta=never --output-format=json 2>>"$work/$1.log" |
        jq '.jobs[0] | (.read.iops + .write.iops) | floor' || fail "$1: $(tail -n 3 "$work/$1.log")"
    kill -STOP "${pids[$1]}"
}

median() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

# row TEXT RW DEPTH WAIT: measures all servers that run and prints a line of the table.
row() {
    local text=$1 name round
    figures=()
    for ((round = 0; round < rounds; round++)); do
        for name in "${!pids[@]}"; do figures[$name]+="$(one "$name" "$2" "$3" "$4")"$'\n'; done
    done
    local line="| $text |" reference
    for name in $(printf '%s\n' "${!pids[@]}" | sort); do
        reference=$(printf '%s' "${figures[$name]}" | median)
        line+=" $name $((reference / 1000)).$((reference % 1000 / 100)) k |"
        jq -cn --arg row "$text" --arg server "$name" --argjson iops "$reference" '{row: $row, server: $server, iops: $iops}' >>"$results"
    done
    printf '%s\n' "$line"
}

medium() {
    local text=$1 backing=$2 wait depth
    copies=$backing.copy
    # vhublkd locks what it serves, so each server gets a file of its own.
    if [[ $backing != null ]]; then
        mkdir "$copies"
        for copy in io_uring libaio qsd; do cp --sparse=never "$backing" "$copies/$copy"; done
    fi
    start "$backing"
    for wait in poll sleep; do
        for depth in 1 32; do row "$text, random read, depth $depth, client ${wait}s" randread "$depth" "$wait"; done
    done
    [[ $backing == null ]] || row "$text, random write, depth 32, client polls" randwrite 32 poll
    stop_all
    [[ $backing == null ]] || rm -r "$copies"
}

command -v qemu-storage-daemon >/dev/null || fail "qemu-storage-daemon is missing; make bench installs it"
printf '%s\n\n' "4 KiB, one queue, server on CPU $server_cpu, client on CPU $client_cpu, medians of $rounds rounds (IOPS)"
medium "null" null
head -c 256M /dev/zero >"$shared/disk"
medium "tmpfs" "$shared/disk"
for path in "$@"; do
    [[ -f $path ]] || fail "$path: only regular files can be compared side by side, since a device has one lock"
    medium "$path" "$path"
done
mkdir -p "$root/bench/results"
cp "$results" "$root/bench/results/compare.jsonl"
printf '\n%s\n' "figures: bench/results/compare.jsonl"
