/// Everything a ring needs to start.
///
/// Safety: the pointers are followed by the ring only; see the ring types.
@safe
public struct VirtqueueConfiguration {
    /// Number of descriptors.
    public var size: Int
    /// Where the areas are, as `VirtqueueLayout` sizes them.
    public var addresses: RingAddresses
    /// Where to begin. With an inflight region that is in use, the region and the ring decide instead.
    public var base: RingBase
    /// The negotiated features.
    public var features: VirtioFeatures
    /// This queue's part of the inflight region, if the front-end gave one.
    public var inflight: InflightQueue?
    /// The ring's own bookkeeping: `scratchBytes(queueSize:inflightEntries:)` bytes, 16-byte aligned, on the poller's NUMA node; freed by the caller after the ring.
    public var scratch: UnsafeMutableRawPointer

    /// Gathers the parts.
    public init(
        size: Int, addresses: RingAddresses, base: RingBase, features: VirtioFeatures, inflight: InflightQueue? = nil,
        scratch: UnsafeMutableRawPointer
    ) {
        self.size = size
        self.addresses = addresses
        self.base = base
        self.features = features
        self.inflight = inflight
        unsafe self.scratch = unsafe scratch
    }
}

/// Why a ring could not start.
public enum VirtqueueError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The size is not one the format allows.
    case invalidSize(Int)
    /// An area is not aligned as the format demands.
    case misalignedArea
    /// A packed ring's base or the inflight region's indices are outside the ring.
    case invalidBase(RingBase)
    /// The inflight region holds what no back-end writes.
    case damagedInflightRegion(String)

    /// The refusal as a person reads it.
    public var description: String {
        switch self {
        case .invalidSize(let size): "a queue cannot have \(size) descriptors"
        case .misalignedArea: "a ring area is misaligned"
        case .invalidBase(let base): "vring base \(base) is outside the ring"
        case .damagedInflightRegion(let reason): "the inflight region is damaged: \(reason)"
        }
    }
}

/// The device's side of a virtqueue. A value owned by one thread at a time; nothing in it locks or allocates.
public protocol Virtqueue {
    /// Who sees the ring's stores to shared memory.
    associatedtype Observer: StoreObserver

    /// Bytes of scratch memory a ring of that size needs; `inflightEntries` is 0 without an inflight region.
    static func scratchBytes(queueSize: Int, inflightEntries: Int) -> Int

    /// Requests in a batch that is small, and still long enough that what is done once a batch weighs little on each.
    static var smallBatch: Int { get }

    /// Starts a ring; reads its indices and, with an inflight region, recovers what an earlier daemon left.
    init(_ configuration: VirtqueueConfiguration) throws(VirtqueueError)

    /// Takes the next chain of any shape; resubmitted ones come first, in the order the earlier daemon popped them.
    mutating func pop(_ memory: inout GuestMemoryView, _ segments: inout SegmentBuffer, _ chain: inout DescriptorChain) -> PopResult

    /// Sees what the driver made available, and has the processor fetch what another chain like `likely`, an earlier one's handle, needs in
    /// the ring.
    mutating func look(likely: ChainHandle) -> RingLook

    /// Takes the next chain that `look` has seen if it is a plain read or write: the hot path of the daemon.
    mutating func popTransfer(_ windows: MemoryWindows) -> TransferPop

    /// Takes the next chain, which `popTransfer` did not take, if it is a plain read or write that lies in descriptors of the ring; nil: `pop`
    /// takes it.
    mutating func popLinkedTransfer(_ windows: MemoryWindows) -> PlainTransfer?

    /// Stages one used element; `length` is the number of bytes written to the guest.
    mutating func push(_ handle: ChainHandle, length: UInt32)

    /// Makes all staged elements visible to the driver at once.
    mutating func publish()

    /// Whether the driver wants to hear of what was published since the last call. Call once after `publish`.
    mutating func shouldNotify() -> Bool

    /// Asks the driver for a kick on the next buffer. True if buffers are there already: poll again instead of sleeping.
    mutating func enableNotifications() -> Bool

    /// Tells the driver that kicks are not needed.
    mutating func disableNotifications()

    /// Goes on at other addresses for the same ring, after the memory table changed.
    mutating func relocate(_ addresses: RingAddresses) throws(VirtqueueError)

    /// What GET_VRING_BASE answers.
    var base: RingBase { get }

    /// Chains popped and not yet pushed.
    var inFlightCount: Int { get }

    /// How far used elements were published; to be given to `usedWrites` later.
    var usedCursor: UInt32 { get }

    /// The bytes that were written for the used elements published since `cursor`, less than 65536 of them.
    func usedWrites(since cursor: UInt32) -> RingWrites

    /// The bytes of the device area that enabling and disabling notifications writes.
    var notificationWrite: Range<Int> { get }

    /// Chains from the inflight region that `pop` has yet to return.
    var resubmitCount: Int { get }
}
