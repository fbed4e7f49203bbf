import Foundation
import Testing

extension Integration {
    /// Guests that move between two QEMUs whose disks two daemons serve, of one image (docs/migration.md); a long run by `make move-guests`.
    @Suite struct MigrationTests {
        /// From QEMU to QEMU and back, five times; the fifth move leads to a host that the guest was on before.
        static let routes: [[QEMU]] = [
            [.debian12, .debian12, .debian12, .debian12, .debian12, .debian12],
            [.debian13, .debian13, .debian13, .debian13, .debian13, .debian13],
            [.debian12, .debian13],
        ]

        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 6))), arguments: routes)
        func aGuestMovesWhileItWrites(_ qemus: [QEMU]) async throws {
            for _ in 0..<Rounds.count(usually: 1) {
                try await Places.withFolder(in: "/dev/shm") { folder in
                    let images = ["\(folder)/2.raw", "\(folder)/3.raw"]
                    for image in images { try await Image.make(image, mebibytes: MovingGuest.mebibytes) }
                    try await Self.writeThroughout(qemus, images)
                }
            }
        }

        /// Requests are in flight at each switch: the disk takes 5 ms for each.
        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 5)))) func aGuestMovesOnASlowDisk() async throws {
            try await Places.withFolder { folder in
                try await SlowFile.with(in: folder, mebibytes: MovingGuest.mebibytes, milliseconds: 5) { first in
                    try await SlowFile.with(in: folder, mebibytes: MovingGuest.mebibytes, milliseconds: 5) { second in
                        try await Self.writeThroughout([.debian13, .debian13, .debian13], [first, second])
                    }
                }
            }
        }

        /// There and back by post-copy: at each arrival the disks serve a guest most of whose memory is still where it came from.
        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 4))), arguments: QEMU.allCases)
        func aGuestMovesByPostCopyWhileItWrites(_ qemu: QEMU) async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let images = ["\(folder)/2.raw", "\(folder)/3.raw"]
                for image in images { try await Image.make(image, mebibytes: MovingGuest.mebibytes) }
                try await Self.writeThroughout([qemu, qemu, qemu], images, prepare: { try await $0.allowPostCopy() }) { guest, uri in
                    let requests = try await guest.moveByPostCopy(to: uri)
                    #expect(requests > 0, "pages that were asked for")
                    Rounds.tell("\(qemu.rawValue): \(requests) pages were asked for")
                }
            }
        }

        /// fio writes and verifies on both disks from the start to the end of the journey.
        static func writeThroughout(
            _ qemus: [QEMU], _ images: [String], prepare: @Sendable (Guest) async throws -> Void = { _ in },
            move: @Sendable (Guest, String) async throws -> Void = { try await $0.move(to: $1) }
        ) async throws {
            try await MovingGuest.with(images: images) { hosts in
                let route = qemus.enumerated().map { (qemu: $1, host: hosts[$0 % 2]) }
                let first = MovingGuest.configuration(route[0].qemu, on: route[0].host)
                try await Guest.with(first) { guest in
                    let load = GuestLoad(guest: guest, disks: first.disks)
                    try await load.start(mebibytes: MovingGuest.mebibytes)
                    try await MovingGuest.travel(guest, route.dropFirst(), prepare: prepare, move: move) { arrived in
                        let load = GuestLoad(guest: arrived, disks: first.disks)
                        let passes = try await load.finish(limit: .seconds(120))
                        #expect(passes.allSatisfy { $0 > 0 })
                        #expect(
                            try await load.checksumsAgree(hosts[(qemus.count - 1) % 2].disks),
                            "what the guest reads is what the images hold")
                        try await arrived.expectNoDiskErrors()
                        Rounds.tell("\(qemus.map(\.rawValue)): \(passes) passes of the two disks, all verified")
                    }
                }
            }
        }

        @Test(.timeLimit(.minutes(4)), arguments: QEMU.allCases)
        func whatTheDiskWroteToMemoryArrives(_ qemu: QEMU) async throws {
            #expect(try await Self.readsWhileMoving(qemu, Places.product("vhublkd"), [:]))
        }

        /// The control: a daemon that does not log loses what it wrote after the page was copied.
        @Test(.timeLimit(.minutes(4))) func withoutTheDirtyLogItDoesNot() async throws {
            #expect(try await !Self.readsWhileMoving(.debian13, Places.debugBuild("vhublkd"), ["VHUBLK_TEST_NO_DIRTY_LOG": "1"]))
        }

        /// Fills the guest's page cache from both disks when all of memory has been copied once, lets the guest move, and looks whether the
        /// cache holds what the images do. The guest's processor must not write to those pages: they are not zeroed when they are
        /// allocated (init_on_alloc=0), and nothing else is done with them before they have arrived.
        static func readsWhileMoving(_ qemu: QEMU, _ program: String, _ environment: [String: String]) async throws -> Bool {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let images = ["\(folder)/2.raw", "\(folder)/3.raw"]
                for image in images { try await Image.fillWithRandomData(image, mebibytes: MovingGuest.mebibytes) }
                var sums: [String] = []
                for image in images { sums.append(try await Image.checksum(image)) }
                let expected = sums
                return try await MovingGuest.with(images: images, program: program, environment: environment) { hosts in
                    let first = MovingGuest.configuration(qemu, on: hosts[0])
                    return try await Guest.with(first) { guest in
                        let found = Found()
                        try await MovingGuest.travel(
                            guest, [(qemu, hosts[1])][...], move: { try await Self.moveWhileReading($0, to: $1, first.disks) }
                        ) { arrived in
                            for disk in first.disks {
                                let seen = try await arrived.succeed(
                                    disk.findName + "cat /sys/block/$d/stat >/tmp/before; sha256sum /dev/$d | cut -c 1-64")
                                // Most of it came out of the page cache, from which a guest may always take something.
                                let sectors = try await arrived.succeed(
                                    disk.findName + "echo $(($(awk '{print $3}' /sys/block/$d/stat) - $(awk '{print $3}' /tmp/before)))")
                                #expect(try #require(Int(sectors)) < MovingGuest.mebibytes << 10, "sectors read again, of twice as many")
                                await found.append(seen)
                            }
                        }
                        return await found.sums == expected
                    }
                }
            }
        }

        private static func moveWhileReading(_ guest: Guest, to uri: String, _ disks: [GuestDisk]) async throws {
            // Something that changes all the time keeps the guest from going before it is to: as much as half a second copies.
            try await guest.start("dirt", "while [ ! -e /tmp/stop ]; do dd if=/dev/urandom of=/tmp/dirt bs=1M count=8 conv=notrunc; done")
            try await guest.limitMove(bytesPerSecond: 16 << 20, downtimeMilliseconds: 1)
            try await guest.beginMove(to: uri)
            try await guest.awaitPasses(1)
            // Somebody has to keep the device open: its cache goes with the last one who closes it.
            for disk in disks {
                try await guest.succeed(disk.findName + "exec 9</dev/$d; sleep 1000 >/dev/null 2>&1 & cat /dev/$d >/dev/null")
            }
            try await guest.succeed("touch /tmp/stop")
            try await guest.limitMove(bytesPerSecond: 10 << 30, downtimeMilliseconds: 2000)
            try await guest.awaitDeparture()
        }

        private actor Found {
            private(set) var sums: [String] = []
            func append(_ sum: String) { sums.append(sum) }
        }
    }
}
