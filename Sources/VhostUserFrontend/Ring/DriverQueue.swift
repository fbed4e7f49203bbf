/// One piece of a request in guest memory.
@frozen
public struct DriverSegment: Sendable, Equatable {
    /// Guest physical address.
    public var address: UInt64
    /// Length in bytes.
    public var length: UInt32

    /// A piece of `length` bytes at a guest physical address.
    @inlinable
    public init(address: UInt64, length: UInt32) {
        self.address = address
        self.length = length
    }
}

/// What a device gave back.
@frozen
public struct UsedBuffer: Sendable, Equatable {
    /// The token that `add` was given.
    public var token: UInt32
    /// How many bytes the device says it wrote.
    public var length: UInt32

    /// An empty element to reap into.
    @inlinable
    public init(token: UInt32 = 0, length: UInt32 = 0) {
        self.token = token
        self.length = length
    }
}

/// How a look at the used side of a ring ended.
@frozen
public enum ReapResult: Sendable, Equatable {
    /// Nothing (more) is there.
    case none
    /// One buffer came back.
    case completed
    /// The device broke the rules of the ring; it is unusable from here on.
    case violation(RingViolation)
}

/// What a device did that no device may do.
@frozen
public enum RingViolation: Sendable, Equatable, Error {
    /// A used element names a descriptor or buffer id that the ring does not have.
    case idOutOfRange(UInt32)
    /// A used element names a buffer that is not with the device: never given, or given back already.
    case idNotInFlight(UInt32)
    /// The used index ran ahead of what was made available.
    case usedIndexAhead(used: UInt16, available: UInt16)
}

/// What was negotiated that changes how a ring is driven.
@frozen
public struct DriverRingOptions: Sendable, Equatable {
    /// VIRTIO_F_EVENT_IDX.
    public var eventIndex: Bool
    /// VIRTIO_F_INDIRECT_DESC: tables are there for chains that are to go through one.
    public var indirect: Bool
    /// The most segments that a chain through an indirect table has.
    public var indirectCapacity: Int

    /// The options of a ring.
    public init(eventIndex: Bool = true, indirect: Bool = true, indirectCapacity: Int = 16) {
        self.eventIndex = eventIndex
        self.indirect = indirect
        self.indirectCapacity = indirectCapacity
    }
}

/// The driver's side of a virtqueue: buffers go in, used buffers come out.
///
/// Both formats are structs of pointers, owned by one thread at a time (they may be handed over, hence Sendable). A copy of such a struct shares the ring and its bookkeeping with the original:
/// go on with one of the two. The ring outlives a connection: after a reconnect the same value goes on, with `base` or `baseAfterCrash` told
/// to the back-end.
public protocol DriverQueue: Sendable {
    /// Lays a ring out in `area`, all of it empty. `area` must fit `size` and `options`.
    init(area: DriverRingArea, options: DriverRingOptions)

    /// Where the ring lies.
    var area: DriverRingArea { get }
    /// What was negotiated.
    var options: DriverRingOptions { get }
    /// Ring entries that are free.
    var freeCount: Int { get }
    /// Buffers that are with the device (or were added and are not published yet).
    var inFlight: Int { get }

    /// Adds one chain: first the segments the device reads, then those it writes.
    ///
    /// `directCount` segments go into ring entries of their own, what follows goes into one indirect table: the full count makes a direct
    /// chain, 0 a wholly indirect one. A split ring takes any mixture (virtio 1.3, 2.7.5.3.2), a packed one only the two ends (2.8.20).
    /// False when the ring has no room; nothing was changed then.
    mutating func add(token: UInt32, segments: UnsafePointer<DriverSegment>, readable: Int, writable: Int, directCount: Int) -> Bool

    /// Shows the device everything added since the last call.
    mutating func publish()

    /// After `publish`: whether the device wants a kick for what was published since this was last asked.
    mutating func shouldKick() -> Bool

    /// Takes one used buffer.
    mutating func reap(_ used: inout UsedBuffer) -> ReapResult

    /// Asks the device to signal the call fd at the next used buffer. True when one is there already: reap again before sleeping.
    mutating func enableCalls() -> Bool

    /// Asks the device not to signal. With the event index this is a hint that wears off after 2^16 buffers.
    mutating func disableCalls()

    /// What SET_VRING_BASE must say when the device has given back everything, or has been asked by GET_VRING_BASE: the next entry it has to
    /// look at. Split: the available index. Packed: available index and wrap counter in the low half, used ones in the high half.
    var base: UInt32 { get }

    /// What SET_VRING_BASE must say after the back-end vanished with requests in flight: the place up to which it has given back.
    /// The inflight region, where there is one, knows the rest.
    var baseAfterCrash: UInt32 { get }
}

extension DriverQueue {
    /// Adds a chain given as arrays, for tests and slow paths; direct unless `indirect`.
    public mutating func add(token: UInt32, readable: [DriverSegment], writable: [DriverSegment], indirect: Bool = false) -> Bool {
        let segments = readable + writable
        return unsafe segments.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe add(
                token: token, segments: base, readable: readable.count, writable: writable.count, directCount: indirect ? 0 : segments.count
            )
        }
    }

    /// Takes everything that is used now, for tests and slow paths.
    public mutating func reapAll() throws(RingViolation) -> [UsedBuffer] {
        var all: [UsedBuffer] = []
        var used = UsedBuffer()
        while true {
            switch reap(&used) {
            case .none: return all
            case .completed: all.append(used)
            case .violation(let violation): throw violation
            }
        }
    }
}
