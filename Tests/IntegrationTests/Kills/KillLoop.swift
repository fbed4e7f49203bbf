import Foundation
import LinuxSystem
import Synchronization

/// Kills a daemon and starts it again, at any moment of its life, for as long as a client of it works.
enum KillLoop {
    /// What happened: how often the daemon was killed, and how soon it was back.
    struct Figures: Sendable {
        var kills = 0
        /// Kills after which the daemon lived long enough for the client to find it and to see a request completed.
        var recoveries: Int { completed.values.count }
        /// From the start of the daemon's process to the client's connection to the export's socket.
        var connected = Times()
        /// From the start of the daemon's process to the first completion.
        var completed = Times()

        static func + (left: Figures, right: Figures) -> Figures {
            Figures(
                kills: left.kills + right.kills, connected: left.connected + right.connected, completed: left.completed + right.completed)
        }
    }

    /// What vhublk-bench's JSON says of the back-ends it lost, in nanoseconds of the monotonic clock.
    private struct Report: Decodable {
        struct Recovery: Decodable {
            var connected: UInt64
            var completed: UInt64

            enum CodingKeys: String, CodingKey {
                case connected = "connected_at_ns"
                case completed = "completed_at_ns"
            }
        }

        var recoveries: [Recovery]
    }

    /// How the client works: random writes and reads on four queues at depth 32, every read checked, all blocks read back at the end.
    static func work(_ disk: ServedDisk, isPacked: Bool, seed: Int, seconds: Int, further: [String] = []) -> [String] {
        [
            "--socket", disk.socket, "--rw=randrw", "--rwmixread=30", "--bs=4k", "--iodepth=32", "--numjobs=4", "--fsync=100",
            "--verify=crc32c", "--randseed=\(seed)", "--time_based", "--runtime=\(seconds)", "--wait=sleep", "--reconnect", "--eta=never",
            "--output-format=json",
        ] + (isPacked ? ["--packed"] : []) + further
    }

    /// Runs vhublk-bench to its end and kills the daemon meanwhile, `limit` times at most. Answers what the client's run came to, and the
    /// figures.
    static func run(
        _ arguments: [String], _ server: MortalServer, limit: Int, in folder: String
    ) async throws -> (outcome: Outcome, figures: Figures) {
        let output = folder + "/bench.json"
        let isOver = Atomic(false)
        let before = await server.starts.count
        let arguments = arguments + ["--output", output]
        async let client = {
            defer { isOver.store(true, ordering: .relaxed) }
            return try await Program.run(Places.product("vhublk-bench"), arguments, limit: .seconds(600))
        }()
        var figures = Figures()
        while !isOver.load(ordering: .relaxed), figures.kills < limit {
            // From a daemon that has hardly begun to one that has worked for a while.
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...200)))
            if isOver.load(ordering: .relaxed) { break }
            try await server.kill()
            try await server.start()
            figures.kills += 1
        }
        let outcome = try await client
        let starts = await server.starts[before...]
        let report = try JSONDecoder().decode(Report.self, from: Data(contentsOf: URL(filePath: output)))
        for recovery in report.recoveries {
            // A client that connected while a daemon died connected to the one before: the start before the connection is the one.
            guard let start = starts.last(where: { $0 < recovery.connected }) else { continue }
            figures.connected.append(recovery.connected - start)
            figures.completed.append(recovery.completed - start)
        }
        return (outcome, figures)
    }
}
