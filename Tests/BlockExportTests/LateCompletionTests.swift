import BlockIO
import Glibc
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

@testable import BlockExport

/// Requests that end when their ring may not be written to: not yet, or never again.
@Suite struct LateCompletionTests {
    private static let requestCount = 4

    /// A split ring with reads in it.
    private struct Reads {
        let memory: DriverMemory
        let area: DriverRingArea
        var driver: DriverSplitQueue

        init() throws {
            memory = try DriverMemory(anonymous: [.init(guestAddress: 0x1000, size: 1 << 20)])
            let options = DriverRingOptions(eventIndex: false, indirect: false, indirectCapacity: 0)
            area = try #require(DriverRingArea(size: 16, format: .split, options: options, memory: memory))
            let buffer = try #require(memory.allocate(4096))
            driver = DriverSplitQueue(area: area, options: options)
            for token in 0..<UInt32(requestCount) {
                let isAdded = driver.add(
                    token: token, readable: [DriverSegment(address: buffer.guestAddress, length: 16)],
                    writable: [
                        DriverSegment(address: buffer.guestAddress + 512, length: 512),
                        DriverSegment(address: buffer.guestAddress + 1024 + UInt64(token), length: 1),
                    ], indirect: false)
                #expect(isAdded)
            }
            driver.publish()
        }

        func setup(_ guest: GuestMemory, counters: QueueCounters) throws -> QueueSetup {
            let configuration = unsafe RingConfiguration(
                size: 16,
                addresses: RingAddresses(descriptors: area.descriptors.pointer, driver: area.driver.pointer, device: area.device.pointer),
                memory: guest, base: RingBase(split: 0), features: .version1, kick: nil, isPolled: true, call: nil, error: nil, log: nil,
                inflight: nil)
            return QueueSetup(
                identity: QueueIdentity(export: "disk", index: 0), ring: configuration,
                disk: try Disk(opening: ExportConfiguration(name: "disk", backing: .null(size: 1 << 20), endpoint: .path("/nowhere"))),
                counters: counters, pollMode: .busy, onFailure: { _ in })
        }
    }

    /// A poller that does not sleep looks at the ring and finds nothing new: what ended while the ring was suspended is told all the same.
    @Test func whatEndsWhileARingIsSuspendedIsToldWhenItGoesOn() throws {
        var reads = try Reads()
        let channel = ManualChannel()
        let queue = try QueueRunner<SplitVirtqueue, ManualChannel>(
            setup: reads.setup(try reads.memory.deviceMemory(), counters: try QueueCounters()), channel: channel, node: nil)
        let poller = try Poller(cpu: 0, node: 0)
        defer { poller.shutdown() }
        let loop = PollerLoop(poller: poller, epoll: try Epoll())
        try loop.add(queue, token: 1)
        _ = queue.take()
        #expect(queue.inFlight == Self.requestCount)
        loop.suspend(1)
        channel.finish()
        loop.completeAll()
        #expect(try reads.driver.reapAll().isEmpty, "the ring is not touched")
        loop.goOn(queue)
        #expect(try reads.driver.reapAll().count == Self.requestCount)
        loop.stop(1, .drain) { _ in }
        #expect(loop.queues.isEmpty)
    }

    /// Requests that are held when it is sure that the guest's memory never comes end without a trace, and are held no more.
    @Test func requestsOfMemoryThatNeverComesAreHeldNoMore() throws {
        let reads = try Reads()
        let channel = ManualChannel()
        let counters = try QueueCounters()
        let awaited = try AwaitedMemory()
        var changes: [HoldChange] = []
        let held = HeldRequests(
            timeoutNanoseconds: 0, isDirect: true, counters: counters, schedule: { _ in }, onChange: { changes.append($0) })
        let guest = GuestMemory(try reads.memory.deviceMemory(), awaited: awaited)
        let queue = try QueueRunner<SplitVirtqueue, ManualChannel>(
            setup: reads.setup(guest, counters: counters), channel: channel, held: held, node: nil)
        _ = queue.take()
        channel.finish(failing: EIO)
        #expect(queue.complete() == 0)
        #expect(counters.read(.held) == UInt64(Self.requestCount) && changes == [.began])
        awaited.withdraw()
        _ = queue.retryHeld(now: .max)
        channel.finish(failing: EFAULT)
        #expect(queue.complete() == Self.requestCount)
        #expect(queue.inFlight == 0)
        #expect(counters.read(.held) == 0 && changes == [.began, .ended])
        queue.close()
    }

    /// A stop gives up the requests that are held; those that were just being tried may fail after that.
    @Test func aRequestThatWasGivenUpWhileItWasTriedMayFail() throws {
        let reads = try Reads()
        let channel = ManualChannel()
        let counters = try QueueCounters()
        let held = HeldRequests(timeoutNanoseconds: 0, isDirect: true, counters: counters, schedule: { _ in }, onChange: { _ in })
        let queue = try QueueRunner<SplitVirtqueue, ManualChannel>(
            setup: reads.setup(try reads.memory.deviceMemory(), counters: counters), channel: channel, held: held, node: nil)
        _ = queue.take()
        channel.finish(failing: EIO)
        #expect(queue.complete() == 0)
        _ = queue.retryHeld(now: .max)
        queue.cancelWaiting()
        #expect(counters.read(.held) == 0)
        // Of a kind that is not held.
        channel.finish(failing: EFAULT)
        #expect(queue.complete() == Self.requestCount)
        #expect(counters.read(.held) == 0)
        queue.close()
    }
}

/// A channel whose operations end when it is told so.
@safe
private final class ManualChannel: IOChannel {
    // unsafe: operations of the one queue, which outlives its channel's use.
    private var waiting: [UnsafeMutablePointer<IOOperation>]

    init() { unsafe waiting = [] }

    func add(_ operation: UnsafeMutablePointer<IOOperation>) { unsafe waiting.append(operation) }

    /// Ends all, well or with an errno.
    func finish(failing error: Int32? = nil) {
        for index in unsafe waiting.indices {
            let operation = unsafe waiting[index]
            unsafe operation.pointee.result = error.map { -Int64($0) } ?? Int64(operation.pointee.length)
            unsafe operation.pointee.completions.pointee.append(operation)
        }
        unsafe waiting = []
    }

    func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {}

    func close() {}

    var counters: IOChannelCounters { IOChannelCounters() }
}
