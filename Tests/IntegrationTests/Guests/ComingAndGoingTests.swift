import Testing

extension Integration {
    /// Resets, drivers and devices that come and go, memory that grows: the disk is there again each time, with what was written.
    @Suite struct ComingAndGoingTests {
        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func aGuestIsResetFiveTimesWhileItWrites(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 16, isReset: true) { pair in
                for round in 0..<5 {
                    for disk in pair.disks {
                        // The first MiB keeps one block a round; the rest is written all the time, reset included.
                        try await pair.guest.succeed(
                            disk.device.findName + """
                                yes "round \(round)" | dd of=/dev/$d bs=4096 seek=\(round) count=1 iflag=fullblock oflag=direct conv=notrunc 2>/dev/null
                                """)
                        try await pair.guest.start(
                            "writer\(disk.device.slot)",
                            disk.device.findName
                                + "fio --name=w --filename=/dev/$d --ioengine=libaio --direct=1 --iodepth=32 --bs=16k --rw=randwrite "
                                + "--offset=1m --size=15m --time_based --runtime=60")
                    }
                    try await Task.sleep(for: .milliseconds(700))
                    try await pair.guest.monitor.execute("system_reset")
                    try await pair.guest.waitForBoot()
                    for disk in pair.disks {
                        let seen = try await pair.guest.succeed(
                            disk.device.findName
                                + "for n in $(seq 0 \(round)); do dd if=/dev/$d bs=4096 skip=$n count=1 2>/dev/null | head -n 1; done")
                        let expected = (0...round).map { "round \($0)" }.joined(separator: "\n")
                        #expect(seen == expected, "\(disk.device.device) after reset \(round + 1)")
                    }
                }
                for disk in pair.disks {
                    try await pair.guest.succeed(disk.device.findName + Guest.verifiedWrites("/dev/$d"))
                }
            }
        }

        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func driversAndDevicesComeAndGo(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 16, isHotPluggable: true) { pair in
                let guest = pair.guest
                for disk in pair.disks {
                    let sum = try await guest.succeed(
                        disk.device.findName + "dd if=/dev/urandom of=/dev/$d bs=64k conv=fsync 2>/dev/null; sha256sum </dev/$d")
                    for _ in 0..<3 {
                        let seen = try await guest.succeed(
                            disk.device.findName + """
                                v=$(basename $(readlink -f /sys/block/$d/device)); cd /sys/bus/virtio/drivers/virtio_blk
                                echo $v >unbind; [ ! -e /dev/$d ] || exit 1
                                echo $v >bind; \(disk.device.findName) sha256sum </dev/$d
                                """)
                        #expect(seen == sum, "\(disk.device.device): unbound and bound")
                    }
                    for _ in 0..<3 {
                        try await Self.unplugAndPlug(disk.device, guest)
                        let seen = try await guest.succeed(disk.device.findName + "sha256sum </dev/$d")
                        #expect(seen == sum, "\(disk.device.device): unplugged and plugged")
                    }
                    try await guest.succeed(disk.device.findName + Guest.verifiedWrites("/dev/$d"))
                }
            }
        }

        static func unplugAndPlug(_ disk: GuestDisk, _ guest: Guest) async throws {
            try await guest.monitor.execute("device_del", ["id": disk.device])
            try await guest.monitor.wait(for: "DEVICE_DELETED", "\"device\": \"\(disk.device)\"", limit: .seconds(30))
            try await guest.succeed("set -- \(disk.sysfs)/virtio*; [ ! -e $1 ]")
            // As libvirt does it: the connection goes with the device, and comes back with it.
            try await guest.monitor.execute("chardev-remove", ["id": "char\(disk.slot)"])
            let address: [String: any Sendable] = ["type": "unix", "data": ["path": disk.socket]]
            let backend: [String: any Sendable] = [
                "type": "socket", "data": ["addr": address, "server": false, "reconnect": 1] as [String: any Sendable],
            ]
            try await guest.monitor.execute("chardev-add", ["id": "char\(disk.slot)", "backend": backend])
            try await guest.monitor.execute(
                "device_add",
                [
                    "driver": "vhost-user-blk-pci", "id": disk.device, "chardev": "char\(disk.slot)", "num-queues": disk.queues,
                    "bus": "port\(disk.slot)", "packed": disk.properties.contains("packed=on"),
                ])
            // A port that got its device back shows it after the five seconds of PCIe's attention button.
            try await guest.succeed(
                "n=0; until ls \(disk.sysfs)/virtio*/block/* >/dev/null 2>&1; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || exit 1; done")
        }

        @Test(.timeLimit(.minutes(5)), arguments: QEMU.allCases)
        func memoryIsPluggedInWhileTheGuestWrites(_ qemu: QEMU) async throws {
            try await GuestPair.with(qemu, mebibytes: 32, memory: 256, kernelArguments: "memhp_default_state=online") { pair in
                let guest = pair.guest
                for disk in pair.disks {
                    try await guest.start(
                        "writer\(disk.device.slot)",
                        disk.device.findName + Guest.verifiedWrites("/dev/$d", mebibytes: 4, further: "--time_based --runtime=8"))
                }
                for number in 0..<3 {
                    try await Task.sleep(for: .seconds(1))
                    try await guest.monitor.execute(
                        "object-add", ["qom-type": "memory-backend-memfd", "id": "more\(number)", "size": 128 << 20, "share": true])
                    try await guest.monitor.execute("device_add", ["driver": "pc-dimm", "id": "dimm\(number)", "memdev": "more\(number)"])
                }
                for disk in pair.disks { try await guest.finish("writer\(disk.device.slot)", limit: .seconds(60)) }

                // The new memory lies above 4 GiB, in the zone from which the kernel takes pages first: buffers allocated now are in it, as its free pages show.
                let free = "awk '/zone +Normal/ {on=1} on && /nr_free_pages/ {print $2; exit}' /proc/zoneinfo"
                let before = try #require(Int(try await guest.succeed(free)))
                #expect(before * 4096 > 200 << 20, "most of the 384 MiB that were plugged in")
                for disk in pair.disks {
                    try await guest.start(
                        "large\(disk.device.slot)",
                        disk.device.findName
                            + "fio --name=v --filename=/dev/$d --ioengine=libaio --direct=1 --iodepth=32 --bs=1m --rw=write --size=32m --loops=3 --verify=crc32c --minimal"
                    )
                }
                try await Task.sleep(for: .milliseconds(1500))
                let during = try #require(Int(try await guest.succeed(free)))
                #expect(before - during > 32 << 8, "fio's buffers of 64 MiB lie in the new memory")
                for disk in pair.disks { try await guest.finish("large\(disk.device.slot)", limit: .seconds(60)) }
            }
        }
    }
}
