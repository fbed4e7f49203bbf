import Foundation
import LinuxSystem

/// fio in a guest, on all of its disks: passes of random writes at depth 32 that are read back and verified, one after the other until told to stop.
struct GuestLoad: Sendable {
    static let depth = 32
    let guest: Guest
    let disks: [GuestDisk]

    /// Starts fio on each disk: a job for each queue, on a processor of its own and so on a queue of its own. Each pass has data of its own,
    /// so that a block that an earlier pass wrote is not taken for this one's.
    func start(mebibytes: Int) async throws {
        for disk in disks {
            let jobs = "--numjobs=\(disk.queues) --cpus_allowed=0-3 --cpus_allowed_policy=split"
            let range = "--size=\(mebibytes / disk.queues)m --offset_increment=\(mebibytes / disk.queues)m"
            try await guest.start(
                disk.device,
                disk.findName + """
                    n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); \
                    fio --name=v --filename=/dev/$d --ioengine=libaio --direct=1 --iodepth=\(Self.depth) --bs=4k --rw=randwrite \
                    \(jobs) \(range) --randseed=$n --verify=crc32c --verify_fatal=1 --group_reporting --minimal || exit 1; done; \
                    echo passes $n
                    """)
            // FLUSH besides; fio's own would empty the rings each time.
            try await guest.succeed(
                disk.findName
                    + "echo $d >/tmp/\(disk.device).name; (while [ ! -e /tmp/stop ]; do dd if=/dev/null of=/dev/$d conv=notrunc,fsync; sleep 0.1; done) >/dev/null 2>&1 &"
            )
        }
    }

    /// Lets the passes that run come to their end. Answers how many there were, of each disk.
    func finish(limit: Duration) async throws -> [Int] {
        try await guest.succeed("touch /tmp/stop")
        var passes: [Int] = []
        for disk in disks {
            let output = try await guest.finish(disk.device, limit: limit)
            guard let count = output.firstMatch(of: /passes ([0-9]+)/).flatMap({ Int($0.1) }) else {
                throw TestbedError("fio's loop on \(disk.device) said: \(output)")
            }
            passes.append(count)
        }
        return passes
    }

    /// Requests in flight when every job has as many as it may.
    private var depthOfAll: Int { disks.reduce(0) { $0 + $1.queues * Self.depth } }

    /// Waits until the rings are full, a second at most: three quarters of all jobs' requests, since at any time some job is between two
    /// passes. Answers how many requests are in flight, or nil when there are fewer.
    private func fill() async throws -> Int? {
        let counts = disks.map { "read r w </sys/block/$(cat /tmp/\($0.device).name)/inflight; t=$((t+r+w))" }.joined(separator: "; ")
        let enough = depthOfAll * 3 / 4
        let outcome = try await guest.run(
            "n=0; while :; do t=0; \(counts); [ $t -ge \(enough) ] && break; n=$((n+1)); [ $n -lt 20 ] || exit 9; sleep 0.05; done; echo $t"
        )
        return outcome.status == 0 ? Int(outcome.output) : nil
    }

    /// Stops the server when requests fill the rings; how many there are.
    func stopWhenFull(_ server: MortalServer) async throws -> Int {
        for _ in 0..<60 {
            await server.signal(SIGSTOP)
            if let count = try await fill() { return count }
            await server.signal(SIGCONT)
            try await Task.sleep(for: .milliseconds(300))
        }
        throw TestbedError("the rings of \(disks.map(\.device)) were never full")
    }

    /// Waits until requests of every disk have completed since `noteProgress`.
    func awaitProgress(limit: Duration) async throws {
        let watch = disks.map { disk in
            "[ \"$(\(completed(disk)))\" != \"$(cat /tmp/\(disk.device).seen)\" ] || all=no"
        }
        let turns = limit.components.seconds * 20
        try await guest.succeed(
            "n=0; while :; do all=yes\n\(watch.joined(separator: "\n"))\n[ $all = yes ] && break; n=$((n+1)); [ $n -lt \(turns) ] || { echo no progress; \(state); exit 1; }; sleep 0.05; done",
            limit: limit + .seconds(60))
    }

    /// Keeps what has completed so far, for `awaitProgress`; while no server runs, so that it is the last one's.
    func noteProgress() async throws {
        try await guest.succeed(disks.map { "\(completed($0)) >/tmp/\($0.device).seen" }.joined(separator: "\n"))
    }

    /// Shell words that print how many reads, writes and discards of a disk have completed.
    private func completed(_ disk: GuestDisk) -> String {
        "awk '{print $1+$5+$12}' /sys/block/$(cat /tmp/\(disk.device).name)/stat"
    }

    /// Shell words that show what each disk is doing.
    private var state: String {
        disks.map { $0.findName + "echo \($0.device) $(cat /sys/block/$d/inflight) $(cat /sys/block/$d/stat)" }.joined(separator: "; ")
    }

    /// Whether what the guest reads, past its page cache, is what the images hold.
    func checksumsAgree(_ served: [ServedDisk]) async throws -> Bool {
        for (disk, image) in zip(disks, served) {
            let seen = try await guest.succeed(
                disk.findName + "sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/$d | cut -c 1-64", limit: .seconds(120))
            if try await Image.checksum(image.image) != seen { return false }
        }
        return true
    }
}
