import ControlAPI
import Foundation
import LinuxSystem
import TestSupport
import Testing
import VhostUserFrontend

/// Stops with a request that the disk does not answer: bounded by the drain time-out, wherever it is set.
@Suite(.serialized) struct DrainTests {
    /// A front-end with a write in flight on a disk that stands still.
    private static func stuckWrite(_ daemon: RunningDaemon, _ disk: FreezableDisk) throws -> BlockDriver {
        _ = try daemon.call(ExportCreate.self, ExportParameters(name: "slow", backing: disk.file, engine: .ioURing))
        var options = BlockDriverOptions()
        options.tracksInflight = true
        let driver = try BlockDriver(path: daemon.folder.path + "/slow.sock", options: options)
        try disk.freeze()
        let isSubmitted = driver.queues[0].submit(.write, slot: 0, sector: 0, length: 4096, toDevice: true)
        #expect(isSubmitted)
        driver.queues[0].flushSubmissions()
        #expect(waits { (try? daemon.call(ExportShow.self, .init(name: "slow")).queues[0].inFlight) == 1 })
        return driver
    }

    private static func seconds(since start: UInt64) -> Double { Double(MonotonicClock.now() - start) / 1e9 }

    @Test func theOptionBoundsTheEndOfTheDaemon() throws {
        let folder = try TemporaryFolder()
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: ["--drain-timeout", "1", "--control", folder.path + "/control.sock", "--state-dir", folder.path + "/state"])
        let disk = try FreezableDisk()
        let driver = try Self.stuckWrite(daemon, disk)
        let start = MonotonicClock.now()
        daemon.signal(SIGTERM)
        #expect(waits { daemon.log.contains("stopped") || daemon.log.contains("not everything has ended") })
        let took = Self.seconds(since: start)
        #expect(took > 0.8 && took < 8, "\(took)")
        // The process itself ends with the kernel's last request, which is the fence for its successor.
        try disk.thaw()
        #expect(try daemon.waitForEnd() == 0)
        // What was not done is done by the successor.
        try daemon.restart()
        #expect(try daemon.settledExports().map(\.state) == [.ready])
        driver.close()
    }

    @Test func theFileBoundsRingsAndDeletions() throws {
        let folder = try TemporaryFolder()
        try folder.write("f.toml", "drain_timeout_s = 1\n")
        let daemon = try RunningDaemon(
            folder: folder,
            arguments: ["--config", folder.path + "/f.toml", "--control", folder.path + "/control.sock", "--state-dir", folder.path + "/s"])
        let disk = try FreezableDisk()
        let driver = try Self.stuckWrite(daemon, disk)
        // GET_VRING_BASE
        var start = MonotonicClock.now()
        try driver.stop()
        var took = Self.seconds(since: start)
        #expect(took > 0.8 && took < 8, "GET_VRING_BASE took \(took) s")
        #expect(try daemon.call(ExportShow.self, .init(name: "slow")).queues[0].state == "stopped, requests abandoned")
        // export delete --force
        start = MonotonicClock.now()
        _ = try daemon.call(ExportDelete.self, .init(name: "slow", force: true))
        took = Self.seconds(since: start)
        #expect(took < 8, "the deletion took \(took) s")
        try disk.thaw()
        driver.close()
        daemon.signal(SIGTERM)
        #expect(try daemon.waitForEnd() == 0)
    }
}
