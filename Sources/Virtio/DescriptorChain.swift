/// What a ring needs to hand a chain back to the driver; kept in the request from pop to push. One word.
@frozen
public struct ChainHandle: Equatable, Sendable {
    /// Bits 0-15 id, 16-31 ring descriptors, 32-47 inflight entry, 63 resubmitted.
    @usableFromInline var word: UInt64

    /// Names a chain by its id, its ring descriptors and its inflight entry.
    @inlinable
    @inline(__always)
    public init(id: UInt16 = 0, ringSlots: UInt16 = 0, inflightEntry: UInt16 = 0, isResubmitted: Bool = false) {
        word = UInt64(id) | UInt64(ringSlots) << 16 | UInt64(inflightEntry) << 32 | (isResubmitted ? 1 << 63 : 0)
    }

    /// Split: index of the head descriptor. Packed: the buffer id.
    @inlinable public var id: UInt16 { UInt16(truncatingIfNeeded: word) }

    /// Packed: how many descriptors of the ring the chain took. Split: 0.
    @inlinable public var ringSlots: UInt16 { UInt16(truncatingIfNeeded: word >> 16) }

    /// Packed: the entry of the inflight region that describes the chain; meaningless without a region. Split: 0.
    @inlinable public var inflightEntry: UInt16 { UInt16(truncatingIfNeeded: word >> 32) }

    /// True when the chain was in flight when an earlier daemon died and was taken from the inflight region.
    @inlinable public var isResubmitted: Bool { word >> 63 != 0 }
}

/// A popped descriptor chain: whose it is and how much it holds. The bytes are in the segment buffer it was popped into.
@frozen
public struct DescriptorChain: Sendable {
    /// Goes back to the ring with `push`.
    public var handle: ChainHandle
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
    @inline(__always)
    public init() {
        handle = ChainHandle()
        readableCount = 0
        writableCount = 0
        readableLength = 0
        writableLength = 0
    }

    /// True when the chain was in flight when an earlier daemon died and was taken from the inflight region.
    @inlinable public var isResubmitted: Bool { handle.isResubmitted }
}
