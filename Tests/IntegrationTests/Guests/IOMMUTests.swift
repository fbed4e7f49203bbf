import Foundation
import Testing

extension Integration {
    /// Guests behind an IOMMU (`intel_iommu=on`): their rings and buffers have I/O virtual addresses, and the pages behind those lie apart.
    @Suite struct IOMMUTests {
        static let accessPlatform = 33
        static let mebibytes = 4
        /// Rings of several pages, whatever QEMU's default.
        static let queueSize = 1024

        struct Disk: Sendable {
            var served: ServedDisk
            var device: GuestDisk
            var isPacked: Bool
        }

        static func disks(in folder: String) -> [Disk] {
            [false, true].enumerated().map { number, isPacked in
                let slot = number + 3
                let served = ServedDisk(
                    name: "disk\(slot)", image: "\(folder)/\(slot).raw", socket: "\(folder)/\(slot).sock", queues: 2, queueSize: queueSize)
                let device = GuestDisk(
                    socket: served.socket, slot: slot, queues: 2,
                    properties: [
                        "packed=\(isPacked ? "on" : "off")", "queue-size=\(queueSize)", "iommu_platform=on", "ats=on", "disable-legacy=on",
                    ])
                return Disk(served: served, device: device, isPacked: isPacked)
            }
        }

        /// The IOMMU has to be there before the devices behind it, and so comes before the disks on the command line.
        static func configuration(_ qemu: QEMU, _ disks: [Disk]) -> Guest.Configuration {
            var configuration = Guest.Configuration(qemu: qemu, disks: disks.map(\.device))
            configuration.extraKernelArguments = "intel_iommu=on iommu.strict=1"
            configuration.ownMemoryArguments = configuration.memoryArguments + ["-device", "intel-iommu,device-iotlb=on"]
            return configuration
        }

        /// The daemon's mappings of guest memory that are no larger than a ring: rings whose pages lie apart.
        static func ringPieces(of process: Int32) async throws -> Int {
            // Not by Foundation, which takes the first part of such a file for all of it.
            let maps = try await Program.succeed("cat", ["/proc/\(process)/maps"])
            return maps.split(separator: "\n").count { line in
                guard line.contains("memory-backend-memfd") else { return false }
                let ends = line.split(separator: " ")[0].split(separator: "-").compactMap { UInt64($0, radix: 16) }
                return ends.count == 2 && ends[1] - ends[0] <= 16 << 10
            }
        }

        @Test(.timeLimit(.minutes(4)), arguments: QEMU.allCases)
        func ringsInPiecesKeepTheirData(_ qemu: QEMU) async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disks = Self.disks(in: folder)
                for disk in disks { try await Image.make(disk.served.image, mebibytes: Self.mebibytes) }
                try await DiskServer.vhublkd.serveMortally(disks.map(\.served), in: folder) { server in
                    try await Guest.with(Self.configuration(qemu, disks)) { guest in
                        for disk in disks { try await Self.check(disk, guest) }
                        try await Self.scatter(disks, guest)
                        let pieces = try await Self.ringPieces(of: server.running.process)
                        Rounds.tell("\(qemu.rawValue): the daemon has rings in \(pieces) pieces")
                        #expect(pieces >= 8, "the rings' pages lie apart, or nothing was tried")
                        let load = GuestLoad(guest: guest, disks: disks.map(\.device))
                        try await load.start(mebibytes: Self.mebibytes)
                        try await Task.sleep(for: .seconds(1))
                        try await server.kill()
                        try await load.noteProgress()
                        try await server.start()
                        try await load.awaitProgress(limit: .seconds(30))
                        let passes = try await load.finish(limit: .seconds(120))
                        #expect(try await load.checksumsAgree(disks.map(\.served)), "what the guest reads is what the images hold")
                        Rounds.tell("\(qemu.rawValue): every block verified in \(passes) passes")
                        try await guest.expectNoDiskErrors()
                    }
                }
            }
        }

        /// Has the guest make its rings anew of pages that lie apart: of processes that began by turns every second one ends, and leaves its
        /// page tables and stacks to who comes next.
        static func scatter(_ disks: [Disk], _ guest: Guest) async throws {
            let drivers = disks.map { disk in
                "v=$(basename \(disk.device.sysfs)/virtio*); for what in unbind bind; do echo $v >/sys/bus/virtio/drivers/virtio_blk/$what; done"
            }
            let script = """
                odd=; even=
                for n in $(seq 60); do sleep 1000 & odd="$odd $!"; sleep 1000 & even="$even $!"; done
                kill $odd; sleep 0.5
                \(drivers.joined(separator: "\n"))
                kill $even
                """
            // On one processor, which has free pages of its own.
            try await guest.succeed("cat >/tmp/scatter <<'end'\n\(script)\nend\ntaskset 1 sh /tmp/scatter")
            for disk in disks { try await guest.succeed(disk.device.findName + "[ -b /dev/$d ]") }
        }

        /// What the guest must have made of the disk: otherwise nothing of this is tried.
        static func check(_ disk: Disk, _ guest: Guest) async throws {
            let features = Array(try await guest.succeed("cat \(disk.device.sysfs)/virtio*/features"))
            #expect(features[accessPlatform] == "1", "\(disk.device.device): ACCESS_PLATFORM")
            #expect(features[DiskMatrixTests.packedRing] == (disk.isPacked ? "1" : "0"), "\(disk.device.device): packed ring")
            let group = try await guest.run("readlink \(disk.device.sysfs)/iommu_group")
            #expect(group.status == 0, "\(disk.device.device) is in an IOMMU group")
        }
    }
}
