import BlockExport
import BlockIO
import Foundation
import LinuxSystem
import Synchronization
import VhostUserFrontend
import Virtio

/// An export on a socket of its own, in this process, with what it told on the way.
final class ServedExport: Sendable {
    let export: Export
    let pollers: PollerGroup
    let path: String
    private let events: Locked<[ExportEvent]>

    private static let count = Atomic<Int>(0)

    private init(export: Export, pollers: PollerGroup, path: String) {
        (self.export, self.pollers, self.path) = (export, pollers, path)
        events = Locked([])
    }

    /// Serves a configuration that `adjust` finishes; a null disk of 64 MiB unless it says otherwise. `beside` shares its pollers.
    @ControlActor
    static func start(
        beside: ServedExport? = nil, _ adjust: @Sendable (inout ExportConfiguration) -> Void = { _ in }
    ) async throws -> ServedExport {
        let number = count.wrappingAdd(1, ordering: .relaxed).newValue
        let path = "/tmp/vhublk-export-\(ProcessInfo.processInfo.processIdentifier)-\(number).sock"
        var configuration = ExportConfiguration(
            name: "disk\(number)", backing: .null(size: 64 << 20), endpoint: .path(path), queueCount: 2)
        adjust(&configuration)
        let pollers = try beside?.pollers ?? PollerGroup(cpus: nil, topology: Topology())
        let export = try await Export.open(configuration, pollers: pollers)
        let served = ServedExport(export: export, pollers: pollers, path: path)
        export.onEvent = { (event: ExportEvent) in served.note(event) }
        try export.start()
        return served
    }

    private func note(_ event: ExportEvent) { events.withLock { $0.append(event) } }

    /// Everything the export told so far.
    var told: [ExportEvent] { events.withLock { $0 } }

    /// Ends the export and its pollers.
    @ControlActor
    func stop() async throws {
        try await export.shutdown(force: true)
        pollers.shutdown()
    }

    /// Ends the export only: its pollers are those of another.
    @ControlActor
    func stopExport() async throws { try await export.shutdown(force: true) }

    /// Ends the pollers of an export that was shut down.
    @ControlActor
    func endPollers() { pollers.shutdown() }

    /// Why the front-end was sent away, once it was; up to half a minute.
    func reasonOfDisconnection() -> String? {
        var reason: String?
        _ = waitFor {
            if case .disconnected(let why?) = $0 { reason = why }
            return reason != nil
        }
        return reason
    }

    /// Waits until something was told, up to half a minute.
    func waitFor(_ isIt: (ExportEvent) -> Bool) -> Bool {
        for _ in 0..<3000 {
            if told.contains(where: isIt) { return true }
            pause(milliseconds: 10)
        }
        return false
    }
}

/// Descriptors this process has open.
func openDescriptorCount() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }

/// Sleeps without a thread of Swift's pool noticing more than a blocked call.
func pause(milliseconds: Int64) {
    guard let poller = try? Epoll() else { return }
    unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
        _ = unsafe poller.wait(into: ready, timeoutNanoseconds: milliseconds * 1_000_000)
    }
}

/// A driver's side of one request after another.
extension BlockDriver {
    /// Options of a small driver; `isPacked` chooses the ring.
    static func options(isPacked: Bool, ringSize: Int = 64, adjust: (inout BlockDriverOptions) -> Void = { _ in }) -> BlockDriverOptions {
        var options = BlockDriverOptions()
        options.layout.format = isPacked ? .packed : .split
        options.layout.ringSize = ringSize
        options.layout.slotCount = 32
        options.layout.slotBytes = 64 << 10
        options.tracksInflight = false
        adjust(&options)
        return options
    }

    /// Waits for the next completion of a queue, up to half a minute.
    func next(_ queue: Int = 0) -> BlockCompletion? {
        var completion = BlockCompletion()
        let deadline = MonotonicClock.now() + 30_000_000_000
        while MonotonicClock.now() < deadline {
            if queues[queue].poll(&completion) == .completed { return completion }
            if !queues[queue].enableCalls() { queues[queue].sleep(nanoseconds: 1_000_000) }
        }
        return nil
    }

    /// One request over the start of slot 0, and its outcome.
    func request(_ command: BlockCommand, sector: UInt64 = 0, length: Int = 0, queue: Int = 0) -> BlockCompletion? {
        let toDevice = command != .read && command != .getID
        guard queues[queue].submit(command, slot: 0, sector: sector, length: length, toDevice: toDevice) else { return nil }
        queues[queue].flushSubmissions()
        return next(queue)
    }

    /// Submits a read over the start of a slot, without showing it to the device yet.
    func submitRead(slot: Int, length: Int, queue: Int = 0) -> Bool {
        queues[queue].submit(.read, slot: slot, sector: 0, length: length, toDevice: false)
    }

    /// Submits a read into a piece of guest memory under slot 0.
    func submitRead(into piece: DriverSegment) -> Bool {
        queues[0].submit(.read, slot: 0, sector: 0, pieces: [piece], toDevice: false)
    }

    /// One request with ranges.
    func request(_ command: BlockCommand, ranges: [SectorRange]) -> BlockCompletion? {
        guard queues[0].submit(command, slot: 0, ranges: ranges) else { return nil }
        queues[0].flushSubmissions()
        return next()
    }
}
