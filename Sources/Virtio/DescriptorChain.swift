/// What a ring needs to hand a chain back to the driver; kept in the request from pop to push.
@frozen
public struct ChainHandle: Equatable, Sendable {
    /// Split: index of the head descriptor. Packed: the buffer id.
    public var id: UInt16
    /// Packed: how many descriptors of the ring the chain took. Split: 1.
    public var ringSlots: UInt16
    /// The entry of the inflight region that describes the chain; meaningless without a region.
    public var inflightEntry: UInt16

    /// Names a chain by its id, its ring descriptors and its inflight entry.
    @inlinable
    @inline(__always)
    public init(id: UInt16 = 0, ringSlots: UInt16 = 0, inflightEntry: UInt16 = 0) {
        self.id = id
        self.ringSlots = ringSlots
        self.inflightEntry = inflightEntry
    }
}

/// A popped descriptor chain: whose it is and how much it holds. The bytes are in the segment buffer it was popped into.
@frozen
public struct DescriptorChain: Sendable {
    /// Goes back to the ring with `push`.
    public var handle: ChainHandle
    /// True when the chain was in flight when an earlier daemon died and was taken from the inflight region.
    public var isResubmitted: Bool
    /// Number of segments the device reads; they come first.
    public var readableCount: Int32
    /// Number of segments the device writes; they follow the readable ones.
    public var writableCount: Int32
    /// Bytes in the readable segments.
    public var readableLength: UInt64
    /// Bytes in the writable segments.
    public var writableLength: UInt64

    /// An empty chain, to pop into.
    @inlinable
    public init() {
        handle = ChainHandle()
        isResubmitted = false
        readableCount = 0
        writableCount = 0
        readableLength = 0
        writableLength = 0
    }
}
