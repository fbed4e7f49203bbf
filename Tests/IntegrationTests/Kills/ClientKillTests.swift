import Foundation
import Testing

extension Integration {
    /// The daemon is killed at any moment under vhublk-bench at full speed, which checks every block; a long run by `make kill-bench`.
    @Suite struct ClientKillTests {
        struct Case: Sendable, CustomTestStringConvertible {
            var engine: String
            var medium: Medium
            var isPacked: Bool
            /// The share of the rounds that it gets.
            var share: Double
            /// Whether rings and buffers lie apart behind an IOMMU.
            var isScattered = false
            var further: [String] { isScattered ? ["--iommu", "--scattered", "--queue-size=1024"] : [] }
            var testDescription: String {
                "\(engine) on \(medium.rawValue), \(isPacked ? "packed" : "split")\(isScattered ? ", scattered behind an IOMMU" : "")"
            }
        }

        /// All rounds on tmpfs, where the daemon is fastest, a tenth on each engine and medium besides.
        static let cases =
            [false, true].map { Case(engine: "io_uring", medium: .tmpfs, isPacked: $0, share: 1) }
            + [false, true].map { Case(engine: "io_uring", medium: .tmpfs, isPacked: $0, share: 0.3, isScattered: true) }
            + ["io_uring", "libaio"].flatMap { engine in
                [Medium.ext4, .loop, .zram].flatMap { medium in
                    [false, true].map { Case(engine: engine, medium: medium, isPacked: $0, share: 0.1) }
                }
            }

        @Test(.timeLimit(.minutes(Rounds.minutes(usually: 4))), arguments: cases)
        func theClientLosesNothing(_ which: Case) async throws {
            let rounds = max(5, Int(Double(Rounds.count(usually: 30)) * which.share))
            try await which.medium.with(mebibytes: 64) { path in
                try await Places.withFolder { folder in
                    let disk = ServedDisk(
                        name: "disk", image: path, socket: folder + "/disk.sock", queues: 4, engine: which.engine)
                    let total = try await DiskServer.vhublkd.serveMortally([disk], in: folder) { server in
                        var total = KillLoop.Figures()
                        var run = 0
                        while total.kills < rounds {
                            run += 1
                            // About ten kills a second.
                            let seconds = min(10, max(1, (rounds - total.kills) / 10))
                            let work = KillLoop.work(
                                disk, isPacked: which.isPacked, seed: run, seconds: seconds, further: which.further)
                            let (outcome, figures) = try await KillLoop.run(work, server, limit: rounds - total.kills, in: folder)
                            total = total + figures
                            try #require(outcome.status == 0, "after \(total.kills) kills: \(outcome.output)")
                            Rounds.tell("\(which.testDescription): \(total.kills) of \(rounds) kills")
                        }
                        return total
                    }
                    #expect(total.recoveries > 0, "the client went on at least once")
                    Rounds.tell("\(which.testDescription): \(total.kills) kills, all blocks good; seen again \(total.recoveries) times")
                    Rounds.tell("  start to connection:       \(total.connected)")
                    Rounds.tell("  start to first completion: \(total.completed)")
                }
            }
        }

        /// What the tests above find is there to be found: without an inflight region the same kills lose requests.
        @Test(.timeLimit(.minutes(4))) func withoutAnInflightRegionRequestsAreLost() async throws {
            try await Places.withFolder(in: "/dev/shm") { folder in
                let disk = ServedDisk(name: "disk", image: folder + "/disk.raw", socket: folder + "/disk.sock", queues: 4)
                try await Image.make(disk.image, mebibytes: 64)
                try await DiskServer.vhublkd.serveMortally([disk], in: folder) { server in
                    let work = KillLoop.work(
                        disk, isPacked: true, seed: 1, seconds: 3, further: ["--inflight=off", "--timeout=2"])
                    // Each kill gives the client's time-out a new beginning: after the last one it runs.
                    let (outcome, figures) = try await KillLoop.run(work, server, limit: 20, in: folder)
                    #expect(figures.kills > 0)
                    #expect(outcome.status == 1, "\(outcome.output)")
                }
            }
        }
    }
}
