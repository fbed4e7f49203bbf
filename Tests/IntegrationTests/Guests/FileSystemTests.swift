import Testing

extension Integration {
    /// What a person does with a disk: a file system with many files, discarding, zeroing, the cache mode.
    @Suite struct FileSystemTests {
        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func aFileSystemWithManyFilesIsCleanOnTheHost(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 48) { pair in
                for disk in pair.disks {
                    let sum = try await pair.guest.succeed(
                        disk.device.findName + """
                            mkfs.ext4 -q /dev/$d >/dev/null && mount /dev/$d /mnt || exit 1
                            for folder in $(seq 20); do
                                mkdir /mnt/$folder
                                for file in $(seq 40); do echo "$folder $file $RANDOM" >/mnt/$folder/$file; done
                            done
                            dd if=/dev/urandom of=/mnt/large bs=64k count=160 2>/dev/null
                            rm -r /mnt/7 /mnt/13
                            sha256sum </mnt/large | cut -c 1-64
                            umount /mnt
                            """)
                    let check = try await Program.run("/sbin/e2fsck", ["-f", "-n", disk.served.image])
                    #expect(check.status == 0, "\(disk.device.device): \(check.output)")
                    let copy = disk.served.image + ".large"
                    try await Program.succeed("/sbin/debugfs", ["-R", "dump /large \(copy)", disk.served.image])
                    #expect(try await Image.checksum(copy) == sum, "\(disk.device.device): a large file")
                    let listing = try await Program.succeed("/sbin/debugfs", ["-R", "ls -p /20", disk.served.image])
                    #expect(
                        listing.split(separator: "\n").count { $0.hasPrefix("/") } == 42, "\(disk.device.device): forty files and two dots")
                }
            }
        }

        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func discardedRangesGiveTheirRoomBackAndZeroedOnesReadAsZeroes(_ qemu: QEMU) async throws {
            let mebibytes = 16
            let fill: (String) async throws -> Void = { try await Image.fillWithRandomData($0, mebibytes: mebibytes) }
            try await GuestPair.with(qemu, mebibytes: mebibytes, prepare: fill) { pair in
                for disk in pair.disks {
                    let name = Comment(rawValue: disk.device.device)
                    let image = disk.served.image
                    let full = try await Image.allocated(image)
                    #expect(full >= mebibytes << 10, name)
                    try await pair.guest.succeed(disk.device.findName + "/sbin/blkdiscard --offset 1048576 --length 4194304 /dev/$d")
                    let discarded = try await Image.allocated(image)
                    #expect(discarded <= full - (4 << 10), name)

                    // Zeroed without and with leave to unmap; then the middle of the disk reads as zeroes and its neighbours as before.
                    let neighbours = "(dd if=/dev/$d bs=1M count=8; dd if=/dev/$d bs=1M skip=12) 2>/dev/null | sha256sum"
                    let before = try await pair.guest.succeed(disk.device.findName + neighbours)
                    try await pair.guest.succeed(
                        disk.device.findName + "/sbin/blkdiscard --zeroout --offset 8388608 --length 4194304 /dev/$d")
                    let zeroes = try await pair.guest.succeed(
                        disk.device.findName
                            + "echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/$d bs=1M skip=8 count=4 2>/dev/null | tr -d '\\000' | wc -c")
                    #expect(zeroes == "0", name)
                    let after = try await pair.guest.succeed(disk.device.findName + neighbours)
                    #expect(after == before, name)
                    let host = try await Program.succeed(
                        "sh", ["-c", "dd if=\(image) bs=1M skip=8 count=4 status=none | tr -d '\\000' | wc -c"])
                    #expect(host == "0\n", name)
                }
            }
        }

        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func theCacheModeTogglesFromTheGuest(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 16) { pair in
                for disk in pair.disks {
                    let name = Comment(rawValue: disk.device.device)
                    let file = "/sys/block/$d/cache_type"
                    #expect(try await pair.guest.succeed(disk.device.findName + "cat \(file)") == "write back", name)
                    for mode in ["write through", "write back", "write through"] {
                        // The driver reads the mode back from the device's config space after setting it.
                        let seen = try await pair.guest.succeed(disk.device.findName + "echo '\(mode)' >\(file) && cat \(file)")
                        #expect(seen == mode, name)
                        try await pair.guest.succeed(disk.device.findName + Guest.verifiedWrites("/dev/$d", jobs: 2, mebibytes: 1))
                    }
                }
            }
        }
    }
}
