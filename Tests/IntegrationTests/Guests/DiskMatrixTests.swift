import Testing

extension Integration {
    /// Every combination of queue count, ring format and ring option, as disks of one guest: written whole with random data by four writers, read back past the
    /// page cache, and compared with the image on the host.
    @Suite struct DiskMatrixTests {
        struct Variant: Sendable {
            var name: String
            var properties: [String] = []
            var blockSize = 512
            /// The export's largest queue, where its default is too small.
            var queueSize: Int?
            /// Feature bits that the guest must have and must not have negotiated.
            var present: [Int] = []
            var absent: [Int] = []
        }

        static let indirect = 28
        static let eventIndex = 29
        static let packedRing = 34

        static let variants = [
            Variant(name: "plain", present: [indirect, eventIndex]),
            Variant(name: "event_idx off", properties: ["event_idx=off"], present: [indirect], absent: [eventIndex]),
            Variant(name: "indirect_desc off", properties: ["indirect_desc=off"], present: [eventIndex], absent: [indirect]),
            Variant(name: "queue-size 4", properties: ["queue-size=4"]),
            Variant(name: "queue-size 1024", properties: ["queue-size=1024"], queueSize: 1024),
            Variant(name: "block size 4096", blockSize: 4096),
        ]

        static let mebibytes = 16

        struct Cell: Sendable {
            var variant: Variant
            var isPacked: Bool
            var isReadOnly: Bool
            var served: ServedDisk
            var disk: GuestDisk
            var label: String
        }

        @Test(.timeLimit(.minutes(15)), arguments: QEMU.allCases)
        func everyCombinationKeepsItsData(_ qemu: QEMU) async throws {
            try await Places.withFolder { folder in
                let cells = Self.cells(in: folder)
                for cell in cells {
                    try await Image.make(cell.served.image, mebibytes: Self.mebibytes)
                    if cell.isReadOnly { try await Image.fillWithRandomData(cell.served.image, mebibytes: Self.mebibytes) }
                }
                try await DiskServer.underTest.serve(cells.map(\.served), in: folder) { _ in
                    try await Guest.with(.init(qemu: qemu, memory: 768, disks: cells.map(\.disk))) { guest in
                        for cell in cells {
                            try await Self.check(cell, guest)
                        }
                        try await guest.expectNoDiskErrors()
                    }
                }
            }
        }

        static func cells(in folder: String) -> [Cell] {
            var cells: [Cell] = []
            for isPacked in [false, true] {
                for queues in [1, 4] {
                    for (variant, isReadOnly) in variants.map({ ($0, false) }) + [(Variant(name: "read-only"), true)] {
                        let slot = cells.count + 2
                        let image = "\(folder)/\(slot).raw"
                        let socket = "\(folder)/\(slot).sock"
                        let label = "\(variant.name), \(queues) queue(s), \(isPacked ? "packed" : "split")"
                        let served = ServedDisk(
                            name: "disk\(slot)", image: image, socket: socket, queues: queues, queueSize: variant.queueSize,
                            blockSize: variant.blockSize,
                            isReadOnly: isReadOnly,
                            serial: "serial-\(slot)")
                        let disk = GuestDisk(
                            socket: socket, slot: slot, queues: queues,
                            properties: variant.properties + ["packed=\(isPacked ? "on" : "off")"])
                        cells.append(
                            Cell(variant: variant, isPacked: isPacked, isReadOnly: isReadOnly, served: served, disk: disk, label: label))
                    }
                }
            }
            return cells
        }

        static func check(_ cell: Cell, _ guest: Guest) async throws {
            let label = Comment(rawValue: cell.label)
            let facts = try await guest.succeed(
                cell.disk.findName
                    + "cd /sys/block/$d; cat device/features queue/logical_block_size size ro; echo $(cat serial); ls mq | wc -l; echo $d"
            ).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            try #require(facts.count == 7, label)
            let features = Array(facts[0])
            for bit in cell.variant.present { #expect(features[bit] == "1", "\(cell.label): feature \(bit)") }
            for bit in cell.variant.absent { #expect(features[bit] == "0", "\(cell.label): feature \(bit)") }
            #expect(features[packedRing] == (cell.isPacked ? "1" : "0"), "\(cell.label): packed ring")
            #expect(facts[1] == "\(cell.variant.blockSize)", "\(cell.label): block size")
            #expect(facts[2] == "\(mebibytes * 2048)", "\(cell.label): size in sectors")
            #expect(facts[3] == (cell.isReadOnly ? "1" : "0"), "\(cell.label): read-only")
            #expect(facts[4] == cell.served.serial, "\(cell.label): serial")
            #expect(facts[5] == "\(cell.disk.queues)", "\(cell.label): queues")
            if cell.isReadOnly {
                try await checkReadOnly(cell, facts[6], guest)
            } else {
                try await checkWritten(cell, facts[6], guest)
            }
        }

        /// Four writers, each on a processor of its own and so on a queue of its own, with block sizes of their own.
        static func checkWritten(_ cell: Cell, _ name: String, _ guest: Guest) async throws {
            let quarter = mebibytes << 18
            let writers = zip(0..., [4096, 16384, 65536, 1 << 20]).map { index, size in
                "taskset \(1 << index) dd if=/dev/urandom of=/dev/\(name) bs=\(size) seek=\(index * quarter / size) count=\(quarter / size) conv=notrunc,fsync &"
            }
            let seen = try await guest.succeed(
                "(\(writers.joined(separator: "\n"))\nwait) 2>/dev/null; sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/\(name) | cut -c 1-64"
            )
            let expected = try await Image.checksum(cell.served.image)
            #expect(seen == expected, "\(cell.label): what the guest reads is what the image holds")
            let allocated = try await Image.allocated(cell.served.image)
            #expect(allocated >= mebibytes << 10, "\(cell.label): the whole disk was written")
        }

        static func checkReadOnly(_ cell: Cell, _ name: String, _ guest: Guest) async throws {
            let before = try await Image.checksum(cell.served.image)
            let seen = try await guest.succeed("sha256sum /dev/\(name) | cut -c 1-64")
            #expect(seen == before, "\(cell.label): what the guest reads is what the image holds")
            let write = try await guest.run("dd if=/dev/zero of=/dev/\(name) bs=4096 count=1 conv=notrunc,fsync")
            #expect(write.status != 0, "\(cell.label): a write is refused")
            #expect(try await Image.checksum(cell.served.image) == before, "\(cell.label): the image is as it was")
        }
    }
}
