/// What `pop` found.
@frozen
public enum PopResult: Equatable, Sendable {
    /// Nothing is available.
    case empty
    /// A chain was popped and every byte of it is mapped.
    case chain
    /// A chain was popped whose descriptors break the rules. If its status byte could be found it is the only segment (`writableCount` 1),
    /// otherwise there is none: write an error status there, push the handle with that length (1 or 0) and go on.
    case malformed(ChainFault)
    /// The chain needs the spill block and `spill` is nil. It stays in the ring; pop again when a block is free.
    case blocked
    /// The IOTLB misses an address of the chain: it is in the view's `miss`. The chain stays in the ring, or in the inflight region; pop again
    /// when the translation is there.
    case missed
    /// The ring itself is corrupt: nothing was popped and nothing further can be. Stop this ring.
    case broken(RingFault)
}

/// What is wrong with one descriptor chain. The guest's request suffers, its ring goes on.
public enum ChainFault: UInt8, Error, Equatable, Sendable, CaseIterable, CustomStringConvertible {
    /// A `next` points outside the table.
    case nextOutOfRange
    /// A loop, or more segments than the spill block takes: the walk ends where that is full.
    case tooLong
    /// More than 2^32 bytes (virtio 1.3, 2.7.5).
    case tooManyBytes
    /// A buffer that is not (wholly) in guest memory.
    case unmappedBuffer
    /// A device-readable descriptor after a device-writable one (virtio 1.3, 2.7.4.2).
    case readableAfterWritable
    /// An indirect table inside an indirect table (virtio 1.3, 2.7.5.3.1).
    case nestedIndirect
    /// An indirect descriptor though INDIRECT_DESC was not negotiated.
    case indirectNotNegotiated
    /// An indirect descriptor that also has NEXT (virtio 1.3, 2.7.5.3.1).
    case indirectWithNext
    /// An indirect table of 0 bytes or not a multiple of 16.
    case indirectTableSize
    /// An indirect table that is not (wholly) in guest memory.
    case unmappedIndirectTable

    /// The fault as a log line tells it.
    public var description: String {
        switch self {
        case .nextOutOfRange: "a descriptor's next is outside its table"
        case .tooLong: "the descriptor chain loops or has too many segments"
        case .tooManyBytes: "the descriptor chain has more than 2^32 bytes"
        case .unmappedBuffer: "a buffer is outside guest memory"
        case .readableAfterWritable: "a readable descriptor follows a writable one"
        case .nestedIndirect: "an indirect table holds an indirect descriptor"
        case .indirectNotNegotiated: "an indirect descriptor came without the feature"
        case .indirectWithNext: "an indirect descriptor has NEXT set"
        case .indirectTableSize: "an indirect table is empty or not a multiple of 16 bytes"
        case .unmappedIndirectTable: "an indirect table is outside guest memory"
        }
    }
}

/// Why a ring cannot go on.
public enum RingFault: UInt8, Error, Equatable, Sendable, CaseIterable, CustomStringConvertible {
    /// Split: avail.idx is ahead by more than the queue size.
    case availIndexJump
    /// Split: the avail ring names a head that is not in the descriptor table.
    case headOutOfRange
    /// The driver made a buffer available that is still in flight.
    case duplicateBuffer
    /// Packed: the chain has no end within the ring.
    case endlessChain
    /// More descriptors are in flight than the ring has.
    case overcommitted

    /// The fault as a log line tells it.
    public var description: String {
        switch self {
        case .availIndexJump: "the avail index is ahead by more than the queue size"
        case .headOutOfRange: "the avail ring names a descriptor outside the table"
        case .duplicateBuffer: "a buffer was made available again while in flight"
        case .endlessChain: "a descriptor chain does not end within the ring"
        case .overcommitted: "more descriptors are in flight than the ring has"
        }
    }
}
