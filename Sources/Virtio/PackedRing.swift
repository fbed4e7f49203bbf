/// The device's side of a packed virtqueue (virtio 1.3, 2.8).
///
/// ```
/// descriptor ring            16 bytes each, see PackedFormat; the device writes its used descriptors over them
/// driver event suppression   off_wrap u16, flags u16: when the driver wants to be notified
/// device event suppression   off_wrap u16, flags u16: when we want a kick
/// ```
/// Positions go round the ring with a wrap counter that flips each lap; it is kept as the ownership bits that descriptors of the lap have.
/// One thread owns a ring at a time.
///
/// Safety: the areas are `VirtqueueLayout` bytes long and aligned as it demands, checked by `init`; positions stay below the size. The
/// scratch block is private to the ring, its tables are as long as the inflight region has entries, and entries come from them only, never
/// from the region. Memory orders are argued where they are used.
@frozen
@safe
public struct PackedRing<Observer: StoreObserver>: Virtqueue {
    @usableFromInline var descriptors: UnsafeMutableRawPointer
    @usableFromInline var driverEvent: UnsafeMutableRawPointer
    @usableFromInline var deviceEvent: UnsafeMutableRawPointer
    @usableFromInline let size: UInt32
    /// The next descriptor to pop, and the ownership bits it has when it is available.
    @usableFromInline var availNext: UInt32
    @usableFromInline var availBits: UInt64
    /// Where the next used descriptor goes, and the ownership bits it gets.
    @usableFromInline var usedNext: UInt32
    @usableFromInline var usedBits: UInt64
    /// The first staged used descriptor: written last, by publish, so that all of a batch appears at once.
    @usableFromInline var firstStaged: UInt32
    @usableFromInline var firstStagedMeta: UInt64
    /// Descriptors of the chains staged; 0 if none is.
    @usableFromInline var stagedSlots: UInt32
    /// Descriptors of the ring that belong to no chain popped and not yet published.
    @usableFromInline var freeSlots: UInt32
    /// Descriptors published since the last `shouldNotify`.
    @usableFromInline var unsignalledSlots: UInt32
    @usableFromInline var chainsInFlight: Int32
    @usableFromInline var hasEventIndex: Bool
    @usableFromInline var allowsIndirect: Bool
    /// A descriptor with this length and these flags is available and names an indirect table of 48 bytes, see `PlainTransfer`.
    @usableFromInline var plainKey: UInt64
    /// The driver may have missed the notification for what an earlier daemon published: the first answer is yes.
    @usableFromInline var mustNotify: Bool
    /// The ids between pop and push.
    @usableFromInline let busyIDs: BufferIDSet
    /// The queue's part of the inflight region, see PackedInflight, and this ring's own copy of its lists.
    @usableFromInline let inflight: UnsafeMutableRawPointer?
    @usableFromInline var entries: PackedInflightTables
    @usableFromInline var resubmitEnd: Int32
    @usableFromInline var resubmitLeft: Int32
    /// Sees every store to shared memory.
    public var observer: Observer

    /// The inflight region is kept with more stores a batch than that of a split ring.
    @inlinable
    public static var smallBatch: Int { 32 }

    /// Bytes of scratch memory a ring of that size needs.
    public static func scratchBytes(queueSize: Int, inflightEntries: Int) -> Int {
        BufferIDSet.scratchBytes(queueSize: queueSize) + PackedInflightTables.bytes(entryCount: inflightEntries)
    }

    /// Starts a ring; reads its indices and, with an inflight region, recovers what an earlier daemon left.
    public init(_ configuration: VirtqueueConfiguration) throws(VirtqueueError) {
        try self.init(configuration, observer: Observer())
    }

    /// Starts a ring whose stores `observer` sees, those of the recovery included.
    public init(_ configuration: VirtqueueConfiguration, observer: Observer) throws(VirtqueueError) {
        guard VirtqueueLayout.isValid(queueSize: configuration.size, features: configuration.features),
            configuration.features.contains(.ringPacked)
        else { throw .invalidSize(configuration.size) }
        let addresses = configuration.addresses
        try Self.checkAlignment(addresses)
        unsafe descriptors = addresses.descriptors
        unsafe driverEvent = addresses.driver
        unsafe deviceEvent = addresses.device
        size = UInt32(configuration.size)
        hasEventIndex = configuration.features.contains(.ringEventIndex)
        allowsIndirect = configuration.features.contains(.ringIndirectDescriptors)
        mustNotify = !Observer.breaks(.signalAtStart)
        firstStaged = 0
        firstStagedMeta = 0
        stagedSlots = 0
        unsignalledSlots = 0
        chainsInFlight = 0
        resubmitEnd = 0
        resubmitLeft = 0
        self.observer = observer
        let scratch = unsafe configuration.scratch
        busyIDs = unsafe BufferIDSet(scratch, queueSize: configuration.size)
        unsafe inflight = configuration.inflight?.base
        let entryCount = configuration.inflight?.entryCount ?? 0
        entries = unsafe PackedInflightTables(
            scratch + BufferIDSet.scratchBytes(queueSize: configuration.size), entryCount: entryCount)

        let base = configuration.base
        var position = PackedPosition(index: UInt32(base.packedUsedIndex), wrap: base.packedUsedWrap)
        var next = PackedPosition(index: UInt32(base.packedAvailIndex), wrap: base.packedAvailWrap)
        // Some front-ends know only the lower half; their rings are idle when they start, so the used position is the avail position.
        if base.rawValue >> 16 == 0, next.wrap { position = next }
        // The front-end may set any base: only what lies in the ring has a distance.
        var taken = position.index < size && next.index < size ? next.distance(from: position, queueSize: size) : nil
        if let region = configuration.inflight {
            // A fresh region takes its position from the base, so a bad one is refused before anything is written there.
            if taken == nil, try !InflightHeader.isInUse(region, queueSize: configuration.size) { throw .invalidBase(base) }
            let recovery = unsafe try PackedInflight.recover(
                region, queueSize: configuration.size, fresh: position, ring: addresses.descriptors, entries, &self.observer)
            if let recovery {
                // Region and ring know better than the base, which is stale after a crash.
                position = recovery.used
                if !Observer.breaks(.positionFromRegion) { next = position.advanced(by: recovery.takenSlots, queueSize: size) }
                taken = recovery.takenSlots
                entries.counter = recovery.counter
                entries.freeHead = recovery.freeHead
                resubmitEnd = Int32(recovery.chainCount)
                resubmitLeft = resubmitEnd
            }
        }
        guard let taken, next.index < size else { throw .invalidBase(base) }
        freeSlots = size - taken
        usedNext = position.index
        usedBits = PackedFormat.used(position.wrap)
        availNext = next.index
        availBits = PackedFormat.available(next.wrap)
        plainKey = 0
        for index in 0..<Int(resubmitEnd) {
            let id = unsafe entries.resubmitID[index]
            guard busyIDs.insert(id) else { throw .damagedInflightRegion("buffer id \(id) is in flight twice") }
        }
        updatePlainKey()
    }

    static func checkAlignment(_ addresses: RingAddresses) throws(VirtqueueError) {
        if unsafe UInt(bitPattern: addresses.descriptors) & 15 != 0 || UInt(bitPattern: addresses.driver) & 3 != 0
            || UInt(bitPattern: addresses.device) & 3 != 0
        {
            throw .misalignedArea
        }
    }

    /// Goes on at other addresses for the same ring, after the memory table changed.
    public mutating func relocate(_ addresses: RingAddresses) throws(VirtqueueError) {
        try Self.checkAlignment(addresses)
        unsafe descriptors = addresses.descriptors
        unsafe driverEvent = addresses.driver
        unsafe deviceEvent = addresses.device
    }

    /// The next avail and used positions; publish first.
    public var base: RingBase {
        RingBase(
            packedAvail: UInt16(availNext), wrap: availBits == PackedFormat.avail, used: UInt16(usedNext), wrap: usedBits != 0)
    }

    /// Chains popped and not yet pushed.
    public var inFlightCount: Int { Int(chainsInFlight) }

    /// Chains from the inflight region that `pop` has yet to return.
    @inlinable public var resubmitCount: Int { Int(resubmitLeft) }
}

/// The packed ring of the daemon.
public typealias PackedVirtqueue = PackedRing<Unobserved>

/// A place in a packed ring: an index below the queue size and the wrap counter of its lap.
struct PackedPosition: Equatable {
    var index: UInt32
    var wrap: Bool

    /// The place `slots` (at most a lap) further on.
    func advanced(by slots: UInt32, queueSize: UInt32) -> PackedPosition {
        let sum = index + slots
        return sum >= queueSize ? PackedPosition(index: sum - queueSize, wrap: !wrap) : PackedPosition(index: sum, wrap: wrap)
    }

    /// How far this place is ahead of `other`, 0 to a lap; nil if it is behind it.
    func distance(from other: PackedPosition, queueSize: UInt32) -> UInt32? {
        if wrap == other.wrap { return index >= other.index ? index - other.index : nil }
        return index <= other.index ? queueSize + index - other.index : nil
    }
}
