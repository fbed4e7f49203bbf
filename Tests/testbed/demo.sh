#!/usr/bin/env bash
# The demo: vhublkd serves a disk, a QEMU guest boots on a Debian kernel and works on it with fio, and every block is verified.
# shellcheck source=Tests/testbed/lib.sh
source "$(dirname "$0")/lib.sh"

products=$links/products
mebibytes=128
folder=$(mktemp -d "${TMPDIR:-/tmp}/vhublk-demo.XXXXXX")
daemon='' guest=''
finish() {
    [[ -z $guest ]] || kill "$guest" 2>/dev/null || true
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" || true
    fi
    rm -rf "$folder"
}
trap finish EXIT

say() { printf '%s\n' "$*"; }
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
command_line() { printf '  %s$ %s%s\n' "$dim" "$*" "$plain"; }
# waited SECONDS COMMAND...: repeats the command until it succeeds.
waited() {
    local tries=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || return 1
        sleep 0.05
    done
}
control() { "$products/vhublkctl" --control "$folder/control.sock" "$@"; }

# A guest's words for QEMU: kernel, memory that the daemon can map, one serial port for the console and one for what the guest reports.
# shellcheck disable=SC2054 # QEMU's commas
qemu_arguments=(-machine q35 -m 512M -smp 4 -object memory-backend-memfd,id=mem,size=512M,share=on -machine memory-backend=mem
    -nodefaults -no-user-config -display none -kernel "$links/kernel/vmlinuz" -append "console=ttyS0 quiet panic=-1" -no-reboot)

# ramdisk MAIN: the guests' RAM disk with a script of its own on top.
ramdisk() {
    mkdir -p "$folder/tree/run"
    cp "$1" "$folder/tree/run/main"
    { cat "$links/ramdisk/ramdisk" && (cd "$folder/tree" && find . | cpio --create --format=newc --quiet | gzip -1); } >"$folder/ramdisk"
}

# KVM is probed by booting a guest: that a machine has /dev/kvm does not say that it works.
choose_accelerator() {
    # shellcheck disable=SC2054 # QEMU's commas
    accelerator=(-accel tcg,thread=multi -cpu max,la57=off)
    if [[ ! -w /dev/kvm ]]; then
        say "  no access to /dev/kvm: the guest runs in software emulation (its figures are those of an emulated processor)"
        return
    fi
    echo 'echo "@alive"' >"$folder/probe"
    ramdisk "$folder/probe"
    # In a shell of its own: the probe may end by a signal, which is no news for a person.
    (timeout --kill-after=1 8 qemu-system-x86_64 "${qemu_arguments[@]}" -accel kvm -cpu host -initrd "$folder/ramdisk" \
        -serial null -serial "file:$folder/probe.out" </dev/null || true) >/dev/null 2>&1
    if grep -q '^@alive' "$folder/probe.out" 2>/dev/null; then
        accelerator=(-accel kvm -cpu host)
        say "  KVM works here: the guest runs on the real processor"
    else
        say "  KVM does not work here (a probe guest did not boot): software emulation (its figures are those of an emulated processor)"
    fi
}

serve() {
    truncate --size "${mebibytes}M" "$folder/demo.raw"
    SWIFT_BACKTRACE=enable=no "$products/vhublkd" --control "$folder/control.sock" --state-dir "$folder/state" >"$folder/vhublkd.log" 2>&1 &
    daemon=$!
    waited 10 test -S "$folder/control.sock" || { cat "$folder/vhublkd.log" >&2 && fail "vhublkd did not start"; }
    command_line "vhublkd &"
    command_line "vhublkctl export create demo --backing demo.raw --queues 4 --serial vhublk-demo"
    control export create demo --backing "$folder/demo.raw" --socket "$folder/demo.sock" --queues 4 --serial vhublk-demo >/dev/null
    command_line "vhublkctl export show demo"
    control export show demo | sed "s|$folder/||g; s/^/    /"
}

boot() {
    ramdisk "$testbed/guest/demo"
    booted=$(milliseconds)
    : >"$folder/report"
    qemu-system-x86_64 "${qemu_arguments[@]}" "${accelerator[@]}" -initrd "$folder/ramdisk" -serial "file:$folder/console" -serial "file:$folder/report" \
        -chardev "socket,id=disk,path=$folder/demo.sock,reconnect=1" -device vhost-user-blk-pci,chardev=disk,num-queues=4 </dev/null >"$folder/qemu.log" 2>&1 &
    guest=$!
}

guest_fault() {
    tail -n 20 "$folder/console" "$folder/qemu.log" "$folder/vhublkd.log" >&2
    fail "$1"
}

# Follows the guest's report line by line and prints each job as it is done.
follow() {
    local line name='' begin now status=0 blocks=0 inside=0
    checksum=''
    : >"$folder/jobs"
    while IFS= read -r -t 300 line; do
        line=${line%$'\r'}
        case $line in
        "@fact kernel "*) printf '  Linux %s is up after %s\n' "${line#@fact kernel }" "$(seconds_since "$booted")" ;;
        "@fact disk "*) say "  its disk: ${line#@fact disk }" ;;
        "@job "*)
            name=${line#@job } begin=$(milliseconds)
            [[ ! -t 1 ]] || printf '  %s%s ...%s\r' "$dim" "$name" "$plain"
            ;;
        "@result "*) status=${line#@result } inside=1 && : >"$folder/result" ;;
        "@done")
            inside=0 now=$(seconds_since "$begin")
            [[ $status == 0 ]] || { cat "$folder/result" >&2 && guest_fault "fio failed in the guest: $name"; }
            sed -n '/^{/,$p' "$folder/result" >"$folder/figures" # fio's notes come first
            blocks=$(jq '.jobs[0].read.total_ios' "$folder/figures")
            printf '  %-28s %9s blocks read back and verified %s%9s%s\n' "$name" "$blocks" "$dim" "$now" "$plain"
            jq -c --arg name "$name" '{name: $name, job: .jobs[0]}' "$folder/figures" >>"$folder/jobs"
            ;;
        "@checksum "*)
            checksum=${line#@checksum }
            printf '  %-28s %49s\n' "SHA-256 of the whole disk" "$(seconds_since "$begin")"
            ;;
        "@fault "*) guest_fault "${line#@fault }" ;;
        "@end 0") return ;;
        "@end "*) guest_fault "the guest's script failed" ;;
        *) ((inside == 0)) || printf '%s\n' "$line" >>"$folder/result" ;;
        esac
    done < <(tail --pid="$guest" --lines=+1 --follow --sleep-interval=0.1 "$folder/report")
    guest_fault "the guest stopped before it was done"
}

# One line for each direction of each job: what was measured, from fio's own figures. In a job that only writes, the reads are its verification.
table() {
    printf '  %-26s %-6s %9s %12s %10s %10s %10s\n' job '' IOPS bandwidth 'p50' 'p99' 'p99.9'
    jq -r '
        def line(d): [.name, d, (.job[d].iops | round), (.job[d].bw_bytes / 1048576), .job[d].clat_ns.percentile["50.000000"],
            .job[d].clat_ns.percentile["99.000000"], .job[d].clat_ns.percentile["99.900000"]] | @tsv;
        {write: ["write"], randwrite: ["write"], read: ["read"], randread: ["read"], randrw: ["read", "write"]}[.job["job options"].rw][] as $d
        | line($d)' "$folder/jobs" |
        awk -F '\t' '
            function time(ns) { return ns < 1e6 ? sprintf("%.0f µs", ns / 1e3) : sprintf("%.1f ms", ns / 1e6) }
            function pad(text, width) { while (length(text) < width + (text ~ /µ/ ? extra : 0)) text = " " text; return text }
            BEGIN { extra = length("µ") - 1 }
            { printf "  %-26s %-6s %9d %6.1f MiB/s %s %s %s\n", $1, $2, $3, $4, pad(time($5), 10), pad(time($6), 10), pad(time($7), 10) }'
}

begin=$(milliseconds)
title "1. A disk, served by vhublkd"
serve
title "2. A guest: QEMU $(qemu-system-x86_64 --version | sed -nE 's/.*version ([0-9.]+).*/\1/p'), four processors, the disk behind four queues"
choose_accelerator
boot
title "3. fio in the guest, four jobs at once; each block carries a checksum"
follow
wait "$guest" || true
guest=''

title "4. The result"
table
verified=$(jq -s 'map(.job.read.total_ios) | add' "$folder/jobs")
[[ $(sha256sum <"$folder/demo.raw" | cut -c 1-64) == "$checksum" ]] || fail "the image on the host is not what the guest read"
printf '\n  %severy block verified%s: %s blocks read back with the right checksum, none wrong;\n' "$bold" "$plain" "$verified"
say "  the guest's SHA-256 of its disk and the host's of the image agree (${checksum:0:16}...)."
say "  $(seconds_since "$begin") in all."

title "Your own VM"
say "  Install and start the daemon, make an export, and ask for the words to paste:"
command_line "sudo make install PREFIX=/usr && sudo systemctl enable --now vhublkd"
command_line "sudo vhublkctl export create db0 --backing /var/lib/images/db0.raw --queues 4"
command_line "sudo vhublkctl attach db0 --format qemu"
say "  For this demo's disk that would be:"
control attach demo --format qemu | sed "s|$folder|/run/vhublk|g; s/^/    /"
