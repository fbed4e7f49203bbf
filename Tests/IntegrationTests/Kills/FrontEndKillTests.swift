import Foundation
import Testing

extension Integration {
    /// Front-ends are killed under load, again and again, and others come in their place: the daemon does not grow, and serves the last as the first.
    @Suite struct FrontEndKillTests {
        /// What a process holds.
        struct Holdings: Equatable, CustomStringConvertible {
            var descriptors: Int
            var mappings: Int
            var threads: Int
            /// In KiB.
            var resident: Int

            init(of process: Int32) throws {
                let folder = "/proc/\(process)"
                descriptors = try FileManager.default.contentsOfDirectory(atPath: folder + "/fd").count
                threads = try FileManager.default.contentsOfDirectory(atPath: folder + "/task").count
                mappings = try String(contentsOfFile: folder + "/maps", encoding: .utf8).count { $0 == "\n" }
                let status = try String(contentsOfFile: folder + "/status", encoding: .utf8)
                guard let text = status.firstMatch(of: /VmRSS:\s+([0-9]+) kB/)?.1, let size = Int(text) else {
                    throw TestbedError("\(folder)/status has no VmRSS")
                }
                resident = size
            }

            var description: String { "\(descriptors) descriptors, \(mappings) mappings, \(threads) threads, \(resident) KiB resident" }
        }

        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 4))), arguments: [false, true])
        func aDaemonWhoseFrontEndsAreKilledStaysAsItWas(isPacked: Bool) async throws {
            let rounds = Rounds.count(usually: 40)
            let warmUp = min(20, rounds / 2)
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock", queues: 4)
                try await Image.make(disk.image, mebibytes: 64)
                try await DiskServer.vhublkd.serveMortally([disk], in: folder) { server in
                    let daemon = try await server.running.process
                    // One that lives: a front-end that is killed early, on a busy machine, may not have come to a poller yet.
                    try await Program.succeed(
                        Places.product("vhublk-bench"), KillLoop.work(disk, isPacked: isPacked, seed: 0, seconds: 1))
                    var warm: Holdings?
                    for round in 1...rounds {
                        try await Self.killFrontEnd(of: disk, isPacked: isPacked, seed: round)
                        if round == warmUp { warm = try await Self.quietHoldings(of: daemon) }
                        if round % 50 == 0 {
                            let now = try Holdings(of: daemon)
                            Rounds.tell("\(round) of \(rounds) front-ends killed: \(now)")
                        }
                    }
                    let before = try #require(warm)
                    let after = try await Self.quietHoldings(of: daemon, as: before)
                    #expect(after.descriptors == before.descriptors, "\(before), then \(after)")
                    // Workers come and go.
                    #expect(after.threads <= before.threads, "\(before), then \(after)")
                    #expect(abs(after.mappings - before.mappings) <= 4, "\(before), then \(after)")
                    #expect(after.resident <= before.resident + 4096, "\(before), then \(after)")
                    Rounds.tell("\(isPacked ? "packed" : "split"): \(rounds) front-ends killed; \(before), then \(after)")
                    try await Program.succeed(
                        Places.product("vhublk-bench"),
                        KillLoop.work(disk, isPacked: isPacked, seed: rounds + 1, seconds: 1))
                }
            }
        }

        /// A front-end that is killed while it writes, at any moment of its life.
        static func killFrontEnd(of disk: ServedDisk, isPacked: Bool, seed: Int) async throws {
            let work = KillLoop.work(disk, isPacked: isPacked, seed: seed, seconds: 60)
            try await Program.with(Places.product("vhublk-bench"), work) { client in
                try await Task.sleep(for: .milliseconds(Int.random(in: 20...120)))
                guard client.isRunning else { throw TestbedError("vhublk-bench has ended by itself: \(client.journal.tail(20))") }
                client.signal(SIGKILL)
            }
        }

        /// What the daemon holds once the last front-end's session is gone: when two looks show the same, or `expected` has come back.
        static func quietHoldings(of process: Int32, as expected: Holdings? = nil) async throws -> Holdings {
            var last = try Holdings(of: process)
            for _ in 0..<50 {
                try await Task.sleep(for: .milliseconds(100))
                let now = try Holdings(of: process)
                if now.descriptors == expected?.descriptors ?? last.descriptors, now.mappings == last.mappings { return now }
                last = now
            }
            return last
        }
    }
}
