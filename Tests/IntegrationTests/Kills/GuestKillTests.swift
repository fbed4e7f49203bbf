import Foundation
import LinuxSystem
import Testing

extension Integration {
    /// The daemon is killed under real guests while their rings are full; a long run by `make kill-guests`.
    ///
    /// Each guest has a disk of each kind (split and packed, one queue and four), all of one daemon: a kill meets all four.
    @Suite struct GuestKillTests {
        static let mebibytes = 16

        struct Disk: Sendable {
            var served: ServedDisk
            var device: GuestDisk
        }

        static func disks(in folder: String) -> [Disk] {
            let kinds = [(1, false), (4, false), (1, true), (4, true)]
            return zip(2..., kinds).filter { canServe(isPacked: $0.1.1) }.map { slot, kind in
                let served = ServedDisk(
                    name: "disk\(slot)", image: "\(folder)/\(slot).raw", socket: "\(folder)/\(slot).sock", queues: kind.0)
                let device = GuestDisk(
                    socket: served.socket, slot: slot, queues: kind.0, properties: ["packed=\(kind.1 ? "on" : "off")"])
                return Disk(served: served, device: device)
            }
        }

        /// The storage daemon, the control to which VHUBLK_TEST_SERVER switches, has no packed rings.
        static func canServe(isPacked: Bool) -> Bool { !isPacked || DiskServer.underTest == .vhublkd }

        /// Boots a guest on the disks of a daemon that may be killed.
        static func with(_ qemu: QEMU, _ body: @Sendable (MortalServer, GuestLoad, [Disk]) async throws -> Void) async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disks = Self.disks(in: folder)
                for disk in disks { try await Image.make(disk.served.image, mebibytes: mebibytes) }
                try await DiskServer.underTest.serveMortally(disks.map(\.served), in: folder) { server in
                    let configuration = Guest.Configuration(qemu: qemu, disks: disks.map(\.device))
                    try await Guest.with(configuration) { guest in
                        let load = GuestLoad(guest: guest, disks: disks.map(\.device))
                        try await prepare(load)
                        try await body(server, load, disks)
                        try await guest.expectNoDiskErrors()
                    }
                }
            }
        }

        /// A task that hangs is told after ten seconds, and the rings have the format that was asked for.
        static func prepare(_ load: GuestLoad) async throws {
            try await load.guest.succeed("echo 10 >/proc/sys/kernel/hung_task_timeout_secs")
            for disk in load.disks {
                let features = try await load.guest.succeed("cat \(disk.sysfs)/virtio*/features")
                let isPacked = Array(features)[DiskMatrixTests.packedRing] == "1"
                #expect(isPacked == disk.properties.contains("packed=on"), "\(disk.device)")
            }
        }

        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 6))), arguments: QEMU.allCases)
        func aKillCostsTheGuestAPause(_ qemu: QEMU) async throws {
            let rounds = Rounds.count(usually: 5)
            try await Self.with(qemu) { server, load, disks in
                try await load.start(mebibytes: Self.mebibytes)
                var pauses = Times()
                for round in 1...rounds {
                    let inFlight = try await load.stopWhenFull(server)
                    try await server.kill()
                    pauses.append(try await Self.startAgain(server, load))
                    Rounds.tell("\(qemu.rawValue): kill \(round) of \(rounds) with \(inFlight) requests in flight")
                }
                // The same daemon told to stop, as for an upgrade, while everything runs.
                for _ in 1...(rounds + 4) / 5 {
                    try await server.terminate()
                    pauses.append(try await Self.startAgain(server, load))
                }
                let passes = try await load.finish(limit: .seconds(120))
                #expect(try await load.checksumsAgree(disks.map(\.served)), "what the guest reads is what the images hold")
                Rounds.tell(
                    "\(qemu.rawValue): \(rounds) kills, every block verified in \(passes) passes of the four disks, images as the guest reads"
                )
                Rounds.tell("  start to progress on every disk, as the guest tells it: \(pauses)")
            }
        }

        /// Starts the daemon and waits until every disk of the guest goes on; how long that took, in nanoseconds.
        static func startAgain(_ server: MortalServer, _ load: GuestLoad) async throws -> UInt64 {
            try await load.noteProgress()
            try await server.start()
            try await load.awaitProgress(limit: .seconds(30))
            return MonotonicClock.now() - (await server.starts.last ?? 0)
        }

        /// A reset while requests are in flight: the guest comes back to disks that do nothing of what the guest before had asked for.
        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 6))), arguments: QEMU.allCases)
        func aResetForgetsWhatWasInFlight(_ qemu: QEMU) async throws {
            let rounds = Rounds.count(usually: 2)
            try await Self.with(qemu) { server, load, disks in
                for round in 1...rounds {
                    // In turn: the daemon dies and is back only after the reset; it is alive, and answers late.
                    let dies = !round.isMultiple(of: 2)
                    try await load.start(mebibytes: Self.mebibytes)
                    let inFlight = try await load.stopWhenFull(server)
                    if dies {
                        try await server.kill()
                        try await load.guest.monitor.execute("system_reset")
                        try await Task.sleep(for: .milliseconds(200))
                        try await server.start()
                    } else {
                        async let reset = load.guest.monitor.execute("system_reset")
                        try await Task.sleep(for: .milliseconds(200))
                        await server.signal(SIGCONT)
                        _ = try await reset
                    }
                    try await load.guest.waitForBoot()
                    try await Self.prepare(load)
                    Rounds.tell(
                        "\(qemu.rawValue): reset \(round) of \(rounds), \(inFlight) in flight, the daemon \(dies ? "dead" : "stopped")")
                    // One pass of everything, on the disks as they are now.
                    try await load.guest.succeed("touch /tmp/stop")
                    for disk in load.disks {
                        let jobs = Guest.verifiedWrites("/dev/$d", jobs: 4, mebibytes: Self.mebibytes / 4)
                        try await load.guest.succeed(disk.findName + jobs)
                    }
                    #expect(try await load.checksumsAgree(disks.map(\.served)), "what the guest reads is what the images hold")
                    try await load.guest.expectNoDiskErrors()
                    try await load.guest.succeed("rm /tmp/stop")
                }
            }
        }
    }
}
