import BlockIO
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

@testable import BlockExport

/// Rings that are stopped before everything that an earlier daemon left in flight was looked at again.
@Suite struct EarlierRequestTests {
    /// More than a poller takes at once.
    private static let requestCount = 200

    @Test func aSplitRingIsStoppedWithoutThem() throws { try stop(DriverSplitQueue.self, SplitVirtqueue.self, .split) }

    @Test func aPackedRingIsStoppedWithoutThem() throws { try stop(DriverPackedQueue.self, PackedVirtqueue.self, .packed) }

    private func stop<Driver: DriverQueue, Ring: Virtqueue>(_ driver: Driver.Type, _ ring: Ring.Type, _ format: RingFormat) throws {
        let memory = try DriverMemory(anonymous: [.init(guestAddress: 0x1000, size: 1 << 20)])
        let options = DriverRingOptions(eventIndex: false, indirect: true, indirectCapacity: 3)
        let area = try #require(DriverRingArea(size: 256, format: format, options: options, memory: memory))
        let buffer = try #require(memory.allocate(4096))
        var queue = Driver(area: area, options: options)
        for token in 0..<Self.requestCount {
            let isAdded = queue.add(
                token: UInt32(token), readable: [DriverSegment(address: buffer.guestAddress, length: 16)],
                writable: [
                    DriverSegment(address: buffer.guestAddress + 512, length: 512), DriverSegment(address: buffer.guestAddress, length: 1),
                ], indirect: true)
            #expect(isAdded)
        }
        queue.publish()

        let layout = InflightLayout(queueCount: 1, queueSize: 256, isPacked: format == .packed)
        let region = try MemoryMapping(anonymous: layout.regionBytes)
        var features: VirtioFeatures = [.version1, .ringIndirectDescriptors]
        if format == .packed { features.insert(.ringPacked) }
        let part = unsafe InflightPart(queue: layout.queue(0, in: region.base), owner: region)
        let configuration = unsafe RingConfiguration(
            size: 256,
            addresses: RingAddresses(descriptors: area.descriptors.pointer, driver: area.driver.pointer, device: area.device.pointer),
            memory: try memory.deviceMemory(), base: format == .packed ? .packedStart : RingBase(split: 0), features: features, kick: nil,
            isPolled: true, call: nil, error: nil, log: nil, inflight: part)
        let setup = QueueSetup(
            identity: QueueIdentity(export: "disk", index: 0), ring: configuration,
            disk: try Disk(opening: ExportConfiguration(name: "disk", backing: .null(size: 1 << 20), endpoint: .path("/nowhere"))),
            counters: try QueueCounters(), pollMode: .adaptive, onFailure: { _ in })

        try takeAndDie(QueueRunner<Ring, SilentChannel>(setup: setup, channel: SilentChannel(), node: nil))
        #expect(try queue.reapAll().isEmpty)

        let poller = try Poller(cpu: 0, node: 0)
        defer { poller.shutdown() }
        let loop = PollerLoop(poller: poller, epoll: try Epoll())
        try loop.add(QueueRunner<Ring, NullChannel>(setup: setup, channel: NullChannel(), node: nil), token: 1)
        var base: RingBase?
        loop.stop(1, .drain) { base = $0 }
        #expect(try queue.reapAll().map(\.token) == Array(0..<UInt32(Self.requestCount)))
        #expect(base?.rawValue == queue.base, "everything that was available before the crash has been done")
    }

    /// A daemon that takes everything and dies before anything is done.
    private func takeAndDie<Ring: Virtqueue>(_ queue: QueueRunner<Ring, SilentChannel>) throws {
        while case .taken(let count) = queue.take(), count > 0 {}
        #expect(queue.inFlight == Self.requestCount)
        queue.state = .abandoned
        queue.cancelWaiting()
        #expect(queue.complete() == Self.requestCount)
    }
}

/// A channel whose operations never reach the disk.
@safe
private final class SilentChannel: IOChannel {
    // unsafe: operations of the one queue, which outlives its channel's use.
    private var waiting: [UnsafeMutablePointer<IOOperation>]

    init() { unsafe waiting = [] }

    func add(_ operation: UnsafeMutablePointer<IOOperation>) { unsafe waiting.append(operation) }

    func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {
        for index in unsafe waiting.indices { unsafe completions.pointee.append(waiting[index]) }
        unsafe waiting = []
    }

    func close() {}

    var counters: IOChannelCounters { IOChannelCounters() }
}
