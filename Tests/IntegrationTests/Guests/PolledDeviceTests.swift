import Foundation
import Testing

extension Integration {
    /// A guest with an NVMe disk that has poll queues, in which vhublkd polls it for completions.
    @Suite struct PolledDeviceTests {
        private static let control = "vhublkctl --control /run/control.sock"
        private static let bench = "vhublk-bench --socket /run/polled.sock --eta=never"

        @Test(.timeLimit(.minutes(5))) func anNVMeDiskIsPolledAndKeepsWhatIsWritten() async throws {
            try await Places.withFolder { folder in
                let overlay = folder + "/overlay"
                try await Program.succeed(
                    Places.scripts + "/overlay.sh", [overlay] + ["vhublkd", "vhublkctl", "vhublk-bench"].map(Places.product))
                let image = folder + "/nvme.img"
                try await Program.succeed("truncate", ["-s", "64M", image])
                var configuration = Guest.Configuration(qemu: .debian12, memory: 768, extraRamdisks: [overlay])
                configuration.extraArguments = [
                    "-drive", "if=none,id=polled,format=raw,file=\(image)", "-device", "nvme,drive=polled,serial=polled",
                ]
                configuration.extraKernelArguments = "nvme.poll_queues=2"
                try await Guest.with(configuration) { guest in
                    #expect(try await guest.succeed("cat /sys/block/nvme0n1/queue/io_poll") == "1")
                    try await guest.succeed(
                        "vhublkd --control /run/control.sock --state-dir /run/state >/tmp/vhublkd.log 2>&1 & echo $! >/tmp/pid")
                    try await guest.succeed(
                        "n=0; until [ -S /run/control.sock ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || { cat /tmp/vhublkd.log; exit 1; }; done"
                    )
                    // A disk without poll queues is refused first.
                    let refusal = try await guest.succeed(
                        "truncate -s 1M /run/plain; ! \(Self.control) export create plain --backing /run/plain --io-poll 2>&1")
                    #expect(refusal.contains("cannot be polled"), "\(refusal)")
                    try await guest.succeed(
                        "\(Self.control) export create polled --backing /dev/nvme0n1 --io-poll --socket /run/polled.sock")
                    let shown = try await guest.succeed("\(Self.control) --json export show polled")
                    #expect(shown.contains("\"io_poll\" : true") && shown.contains("\"engine\" : \"io_uring\""), "\(shown)")
                    for ring in ["", " --packed"] {
                        try await guest.succeed(
                            "\(Self.bench)\(ring) --rw=randwrite --bs=4k --iodepth=16 --size=4m --verify=crc32c --fsync=32",
                            limit: .seconds(120))
                    }
                    let before = try await Self.interrupts(guest)
                    try await guest.succeed("\(Self.bench) --rw=randread --bs=4k --iodepth=16 --number_ios=4000", limit: .seconds(120))
                    let after = try await Self.interrupts(guest)
                    #expect(after - before < 400, "4000 reads took \(after - before) interrupts")
                }
            }
        }

        /// Interrupts of the disk's queues so far, the one for commands to the controller left out.
        private static func interrupts(_ guest: Guest) async throws -> Int {
            let sum = try await guest.succeed(
                "awk '/nvme0q[1-9]/ { for (i = 2; i <= 5; i++) sum += $i } END { print sum + 0 }' /proc/interrupts")
            return try #require(Int(sum))
        }
    }
}
