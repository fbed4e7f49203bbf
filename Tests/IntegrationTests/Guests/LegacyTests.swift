import Testing

extension Integration {
    /// Drivers without VERSION_1: the interface of before virtio 1.0, whose rings lie in one piece and whose config space is the guest's byte order.
    @Suite struct LegacyTests {
        static let version1 = 32
        static let mebibytes = 16

        @Test(.timeLimit(.minutes(3)), arguments: QEMU.allCases)
        func aLegacyDriverKeepsItsData(_ qemu: QEMU) async throws {
            try await Places.withFolder { folder in
                let variants = [["event_idx=on"], ["event_idx=off", "indirect_desc=off"]]
                let disks = variants.indices.map { index in
                    (
                        served: ServedDisk(
                            name: "disk\(index)", image: "\(folder)/\(index).raw", socket: "\(folder)/\(index).sock", queues: 2,
                            serial: "legacy-\(index)"),
                        device: GuestDisk(
                            socket: "\(folder)/\(index).sock", slot: index + 2, queues: 2,
                            properties: ["disable-modern=on", "disable-legacy=off"] + variants[index])
                    )
                }
                for disk in disks { try await Image.make(disk.served.image, mebibytes: Self.mebibytes) }
                try await DiskServer.underTest.serve(disks.map(\.served), in: folder) { _ in
                    try await Guest.with(.init(qemu: qemu, processors: 2, memory: 256, disks: disks.map(\.device))) { guest in
                        for disk in disks {
                            let facts = try await guest.succeed(
                                disk.device.findName + "cd /sys/block/$d; cat device/features size; echo $(cat serial)"
                            ).split(separator: "\n").map(String.init)
                            try #require(facts.count == 3)
                            #expect(Array(facts[0])[Self.version1] == "0", "VERSION_1 is not negotiated")
                            #expect(facts[1] == "\(Self.mebibytes * 2048)")
                            #expect(facts[2] == disk.served.serial)
                            try await guest.succeed(disk.device.findName + Guest.verifiedWrites("/dev/$d"))
                            let seen = try await guest.succeed(
                                disk.device.findName + """
                                    dd if=/dev/urandom of=/dev/$d bs=64k conv=fsync 2>/dev/null
                                    echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/$d | cut -c 1-64
                                    """)
                            #expect(seen == (try await Image.checksum(disk.served.image)))
                            try await guest.succeed(disk.device.findName + "/sbin/blkdiscard -o 1048576 -l 1048576 /dev/$d")
                        }
                        try await guest.expectNoDiskErrors()
                    }
                }
            }
        }
    }
}
