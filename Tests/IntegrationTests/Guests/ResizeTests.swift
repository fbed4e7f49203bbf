import Foundation
import Testing

extension Integration {
    /// Disks that change their size while a guest writes to them.
    @Suite struct ResizeTests {
        private static func sectors(_ disk: GuestDisk, _ guest: Guest) async throws -> Int {
            Int(try await guest.succeed(disk.findName + "cat /sys/block/$d/size")) ?? 0
        }

        /// Waits until the guest sees so many MiB; the time it took at most, with what looking costs.
        private static func waitForSize(_ disk: GuestDisk, _ mebibytes: Int, _ guest: Guest) async throws -> Duration {
            let clock = ContinuousClock()
            let start = clock.now
            try await eventually(.seconds(10), "\(disk.device): \(mebibytes) MiB") {
                try await sectors(disk, guest) == mebibytes * 2048
            }
            return start.duration(to: clock.now)
        }

        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func aDiskGrowsAndShrinksUnderLoad(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 32) { pair in
                let guest = pair.guest
                for disk in pair.disks {
                    try await guest.start(
                        "writer\(disk.device.slot)",
                        disk.device.findName + Guest.verifiedWrites("/dev/$d", further: "--time_based --runtime=8"))
                }
                for disk in pair.disks {
                    try await pair.control("export", "resize", disk.served.name, "48M")
                    let time = try await Self.waitForSize(disk.device, 48, guest)
                    #expect(time < .seconds(2), "a second, and what looking takes")
                    // What is new can be written, and holds what was written.
                    try await guest.succeed(
                        disk.device.findName + """
                            dd if=/dev/urandom of=/tmp/new bs=1M count=16 2>/dev/null
                            dd if=/tmp/new of=/dev/$d bs=1M seek=32 oflag=direct conv=notrunc 2>/dev/null
                            dd if=/dev/$d bs=1M skip=32 iflag=direct 2>/dev/null | cmp - /tmp/new && rm /tmp/new
                            """)
                }
                for disk in pair.disks { try await guest.finish("writer\(disk.device.slot)", limit: .seconds(60)) }
                let disk = pair.disks[0]
                await #expect(throws: (any Error).self, "data would be cut off") {
                    try await pair.control("export", "resize", disk.served.name, "32M")
                }
                #expect(try await Self.sectors(disk.device, guest) == 48 * 2048)
                try await pair.control("export", "resize", disk.served.name, "32M", "--force")
                _ = try await Self.waitForSize(disk.device, 32, guest)
                try await guest.succeed(disk.device.findName + Guest.verifiedWrites("/dev/$d"))
            }
        }

        @Test(.timeLimit(.minutes(3)), arguments: QEMU.allCases)
        func aDeviceThatGrewIsNoticed(_ qemu: QEMU) async throws {
            try await Medium.loop.with(mebibytes: 32) { device in
                try await Places.withFolder { folder in
                    let served = ServedDisk(name: "disk", image: device, socket: folder + "/disk.sock")
                    let disk = GuestDisk(socket: served.socket, slot: 2)
                    try await DiskServer.vhublkd.serve([served], in: folder) { _ in
                        try await Guest.with(.init(qemu: qemu, processors: 2, memory: 256, disks: [disk])) { guest in
                            try await guest.start(
                                "writer", disk.findName + Guest.verifiedWrites("/dev/$d", further: "--time_based --runtime=5"))
                            let name = device.split(separator: "/").last ?? ""
                            let file = try await Root.succeed("cat", ["/sys/block/\(name)/loop/backing_file"])
                                .trimmingCharacters(in: .newlines)
                            try await Root.succeed("truncate", ["-s", "48M", file])
                            try await Root.succeed("losetup", ["--set-capacity", device])
                            #expect(try await Self.waitForSize(disk, 48, guest) < .seconds(2), "a second, and what looking takes")
                            try await guest.finish("writer", limit: .seconds(60))
                            try await guest.succeed(
                                disk.findName + "dd if=/dev/zero of=/dev/$d bs=1M seek=47 count=1 oflag=direct conv=notrunc")
                            try await guest.expectNoDiskErrors()
                        }
                    }
                }
            }
        }
    }
}
