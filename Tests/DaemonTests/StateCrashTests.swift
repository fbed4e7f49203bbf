import ControlAPI
import Foundation
import LinuxSystem
import Synchronization
import Testing

/// `kill -9` at any instant of a change: the state directory holds what it held before or what it holds after, and whatever was answered.
struct StateCrashTests {
    /// What one client has been told so far, by name: the size of the export, nil when it is deleted; and the change it waits for.
    private struct Told {
        var sizes: [String: UInt64] = [:]
        var pending: (name: String, size: UInt64?)?
    }

    @Test func everyInstantLeavesBeforeOrAfter() throws {
        let daemon = try RunningDaemon()
        var told = Told()
        let rounds = 25
        var changes = 0
        for round in 0..<rounds {
            changes += try Self.changeUntilKilled(daemon, &told, delayMicroseconds: UInt64(round) * 1_700 + 500, round: round)
            try daemon.restart()
            let exports = try daemon.settledExports()
            #expect(exports.allSatisfy { $0.state == .ready }, "\(exports.filter { $0.state != .ready }) \(daemon.log)")
            #expect(!daemon.log.contains("state file") && !daemon.log.contains("not vhublkd's"), "\(daemon.log)")
            var found = Dictionary(uniqueKeysWithValues: exports.map { ($0.name, $0.size) })
            if let pending = told.pending {
                // Whether the change that was under way has happened is open, but it has wholly or not at all.
                #expect([told.sizes[pending.name], pending.size].contains(found[pending.name]), "\(pending) \(found)")
                told.sizes[pending.name] = found[pending.name]
                told.pending = nil
            }
            #expect(found == told.sizes, "round \(round)")
            found = [:]
            #expect(try FileManager.default.contentsOfDirectory(atPath: daemon.stateFolder).allSatisfy { !$0.hasSuffix(".new") })
        }
        #expect(changes > rounds, "the kills met a daemon at work")
    }

    /// Makes, resizes and deletes exports until the daemon, which is killed after a while, answers no more; returns how many changes it
    /// answered.
    private static func changeUntilKilled(
        _ daemon: RunningDaemon, _ told: inout Told, delayMicroseconds: UInt64, round: Int
    ) throws -> Int {
        let client = try daemon.client()
        let pid = daemon.pid
        let killer = try PinnedThread(name: "killer") {
            ProcessSelf.sleep(nanoseconds: delayMicroseconds * 1000)
            _ = Foundation.kill(pid, SIGKILL)
        }
        var count = 0
        for step in 0... {
            let name = "e\(step % 3)"
            let size: UInt64? = told.sizes[name] == nil ? 1 << 20 : (step + round) % 2 == 0 ? nil : UInt64(step + 2) << 20
            told.pending = (name, size)
            do {
                if let size, told.sizes[name] == nil {
                    _ = try client.call(ExportCreate.self, ExportParameters(name: name, backing: "null:\(size)"))
                } else if let size {
                    _ = try client.call(ExportResize.self, .init(name: name, size: ByteSize(size)))
                } else {
                    _ = try client.call(ExportDelete.self, .init(name: name))
                }
            } catch ControlClient.Failure.refused(let error) {
                Issue.record("\(error)")
            } catch {
                break
            }
            told.sizes[name] = size
            told.pending = nil
            count += 1
        }
        killer.join()
        daemon.kill()
        return count
    }
}
