import Virtio

/// What a ring handed out and got back, checked as it happens: every chain is given back once, and none that was not handed out.
final class RingJournal {
    private(set) var inFlight: Set<UInt16> = []
    private(set) var popCount = 0
    private(set) var pushCount = 0
    /// Called with each chain that is given back, and the length that is told.
    var onPush: (ChainHandle, UInt32) -> Void = { _, _ in }
    private(set) var failure: String?

    func fail(_ text: String) { if failure == nil { failure = text } }

    func popped(_ handle: ChainHandle) {
        popCount += 1
        if !inFlight.insert(handle.id).inserted { fail("chain \(handle.id) was handed out although it is in flight") }
    }

    func pushed(_ handle: ChainHandle, _ length: UInt32) {
        pushCount += 1
        if inFlight.remove(handle.id) == nil { fail("chain \(handle.id) is given back although it is not in flight") }
        onPush(handle, length)
    }

    func check() throws(FuzzFailure) {
        if let failure { throw FuzzFailure(failure) }
    }
}

/// A ring with a journal.
struct ObservedRing<Ring: Virtqueue>: Virtqueue {
    typealias Observer = Ring.Observer

    private var ring: Ring
    let journal = RingJournal()

    static var smallBatch: Int { Ring.smallBatch }

    static func scratchBytes(queueSize: Int, inflightEntries: Int) -> Int {
        Ring.scratchBytes(queueSize: queueSize, inflightEntries: inflightEntries)
    }

    init(_ configuration: VirtqueueConfiguration) throws(VirtqueueError) {
        ring = try Ring(configuration)
    }

    mutating func pop(_ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain) -> PopResult {
        let result = ring.pop(&memory, &segments, &chain)
        switch result {
        case .chain, .malformed: journal.popped(chain.handle)
        case .empty, .blocked, .missed, .broken: break
        }
        return result
    }

    mutating func look(likely: ChainHandle) -> RingLook { ring.look(likely: likely) }

    mutating func popLinkedTransfer(_ windows: MemoryWindows) -> PlainTransfer? {
        let transfer = ring.popLinkedTransfer(windows)
        if let transfer { journal.popped(transfer.handle) }
        return transfer
    }

    mutating func popTransfer(_ windows: MemoryWindows) -> TransferPop {
        let result = ring.popTransfer(windows)
        if case .transfer(let transfer) = result { journal.popped(transfer.handle) }
        return result
    }

    mutating func push(_ handle: ChainHandle, length: UInt32) {
        journal.pushed(handle, length)
        ring.push(handle, length: length)
    }

    mutating func publish() { ring.publish() }
    mutating func shouldNotify() -> Bool { ring.shouldNotify() }
    mutating func enableNotifications() -> Bool { ring.enableNotifications() }
    mutating func disableNotifications() { ring.disableNotifications() }
    mutating func relocate(_ addresses: RingAddresses) throws(VirtqueueError) { try ring.relocate(addresses) }
    var base: RingBase { ring.base }
    var inFlightCount: Int { ring.inFlightCount }
    var resubmitCount: Int { ring.resubmitCount }
    var usedCursor: UInt32 { ring.usedCursor }
    func usedWrites(since cursor: UInt32) -> RingWrites { ring.usedWrites(since: cursor) }
    var notificationWrite: Range<Int> { ring.notificationWrite }
}
