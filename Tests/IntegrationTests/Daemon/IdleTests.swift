import Foundation
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

extension Integration {
    /// A daemon with a hundred exports, each with a front-end whose rings run and have worked: quiet, it costs next to nothing.
    @Suite struct IdleTests {
        static let exports = 100

        @Test(.timeLimit(.minutes(3)), arguments: ["adaptive", "interrupt"])
        func aHundredQuietExportsUseUnderOnePercentOfACore(_ mode: String) async throws {
            let share = try await Self.idleShare(mode, exports: Self.exports, window: .seconds(5))
            #expect(share < 0.01, "of a core, \(mode) polling")
        }

        /// The measure itself can tell: a busy poller burns its core.
        @Test(.timeLimit(.minutes(1))) func aBusyPollerIsSeenToBurn() async throws {
            let share = try await Self.idleShare("busy", exports: 1, window: .seconds(2))
            #expect(share > 0.2, "of a core; the other tests run on it too")
        }

        /// The share of a core that a daemon uses while all its exports are connected and nobody sends requests.
        static func idleShare(_ mode: String, exports: Int, window: Duration) async throws -> Double {
            try await Places.withFolder { folder in
                let disks = (0..<exports).map {
                    ServedDisk(name: "idle\($0)", image: "null:1G", socket: "\(folder)/\($0).sock", poll: mode)
                }
                return try await Program.with(
                    Places.product("vhublkd"), ["--control", folder + "/control.sock", "--state-dir", folder + "/state"]
                ) { server in
                    try await waitForSocket(folder + "/control.sock", server)
                    let control = DaemonControl(socket: folder + "/control.sock")
                    for disk in disks { try await control.create(disk) }
                    var options = BlockDriverOptions()
                    options.layout.slotCount = 1
                    let drivers = try disks.map { try BlockDriver(path: $0.socket, options: options) }
                    for driver in drivers { _ = try driver.read(sector: 0, count: 4096) }
                    try await Task.sleep(for: .seconds(1))

                    let clock = ContinuousClock()
                    let begin = clock.now
                    let before = try Self.processorTime(server.process)
                    try await Task.sleep(for: window)
                    let used = try Self.processorTime(server.process) - before
                    let elapsed = begin.duration(to: clock.now)
                    // Still alive, all of them.
                    for driver in drivers { _ = try driver.read(sector: 8, count: 4096) }
                    return used / elapsed
                }
            }
        }

        /// Time on a processor that all threads of a process have had, to the nanosecond.
        static func processorTime(_ process: Int32) throws -> Duration {
            let tasks = "/proc/\(process)/task"
            var total: Int64 = 0
            for task in try FileManager.default.contentsOfDirectory(atPath: tasks) {
                let text = try String(contentsOfFile: "\(tasks)/\(task)/schedstat", encoding: .utf8)
                total += Int64(text.prefix { $0.isNumber }) ?? 0
            }
            return .nanoseconds(total)
        }
    }
}
