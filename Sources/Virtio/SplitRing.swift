/// The device's side of a split virtqueue (virtio 1.3, 2.7).
///
/// ```
/// descriptor table   16 bytes each, see SplitFormat
/// avail ring         flags u16, idx u16, ring u16[size], used_event u16
/// used ring          flags u16, idx u16, ring {id u32, len u32}[size], avail_event u16
/// ```
/// Indices run freely over 16 bits and are masked when used. One thread owns a ring at a time.
///
/// Safety: the areas are `VirtqueueLayout` bytes long and aligned as it demands, checked by `init`; every index into them is masked or
/// compared with the size first. The scratch block is private to the ring. Memory orders are argued where they are used.
@frozen
@safe
public struct SplitRing<Observer: StoreObserver>: Virtqueue {
    @usableFromInline var descriptors: UnsafeMutableRawPointer
    @usableFromInline var availRing: UnsafeMutableRawPointer
    @usableFromInline var usedRing: UnsafeMutableRawPointer
    @usableFromInline let size: UInt32
    @usableFromInline let mask: UInt16
    /// The next entry of the avail ring to pop.
    @usableFromInline var availNext: UInt16
    /// The avail index as last read: entries before it are visible.
    @usableFromInline var availSeen: UInt16
    /// The used index the driver sees.
    @usableFromInline var usedPublished: UInt16
    /// The used index once the staged elements are published.
    @usableFromInline var usedStaged: UInt16
    /// The used index at the last `shouldNotify`.
    @usableFromInline var usedSignalled: UInt16
    @usableFromInline var hasEventIndex: Bool
    @usableFromInline var allowsIndirect: Bool
    /// A descriptor with this second word, shifted by 16 bits, names an indirect table of 48 bytes, see `PlainTransfer`.
    @usableFromInline let plainKey: UInt64
    @usableFromInline var notifiesOnEmpty: Bool
    /// The driver may have missed the notification for what an earlier daemon published: the first answer is yes.
    @usableFromInline var mustNotify: Bool
    /// One byte per head: 1 while the head is between pop and push.
    @usableFromInline let isBusy: UnsafeMutablePointer<UInt8>
    /// The heads pushed since the last publish, kept only with an inflight region.
    @usableFromInline let stagedHeads: UnsafeMutablePointer<UInt16>
    /// Heads to resubmit, in order.
    @usableFromInline let resubmitHeads: UnsafeMutablePointer<UInt16>
    @usableFromInline var resubmitEnd: Int32
    @usableFromInline var resubmitLeft: Int32
    /// The queue's part of the inflight region, see SplitInflight.
    @usableFromInline let inflight: UnsafeMutableRawPointer?
    /// The inflight region's last_batch_head, as this ring will store it.
    @usableFromInline var lastBatchHead: UInt16
    /// The inflight region's global counter.
    @usableFromInline var counter: UInt64
    /// Distance of availNext from usedStaged that is not due to popped chains: requests an earlier device took and lost.
    @usableFromInline let strayCount: Int
    /// Sees every store to shared memory.
    public var observer: Observer

    /// Little is stored once a batch.
    @inlinable
    public static var smallBatch: Int { 8 }

    /// Bytes of scratch memory a ring of that size needs.
    public static func scratchBytes(queueSize: Int, inflightEntries: Int) -> Int {
        // isBusy, stagedHeads, resubmitHeads; rounded up so that the 16-bit tables are aligned.
        (queueSize + 1) & ~1 + 4 * queueSize
    }

    /// Starts a ring; reads its indices and, with an inflight region, recovers what an earlier daemon left.
    public init(_ configuration: VirtqueueConfiguration) throws(VirtqueueError) {
        try self.init(configuration, observer: Observer())
    }

    /// Starts a ring whose stores `observer` sees, those of the recovery included.
    public init(_ configuration: VirtqueueConfiguration, observer: Observer) throws(VirtqueueError) {
        guard VirtqueueLayout.isValid(queueSize: configuration.size, features: configuration.features),
            !configuration.features.contains(.ringPacked)
        else { throw .invalidSize(configuration.size) }
        let addresses = configuration.addresses
        try Self.checkAlignment(addresses)
        let queueSize = configuration.size
        unsafe descriptors = addresses.descriptors
        unsafe availRing = addresses.driver
        unsafe usedRing = addresses.device
        size = UInt32(queueSize)
        mask = UInt16(queueSize - 1)
        hasEventIndex = configuration.features.contains(.ringEventIndex)
        allowsIndirect = configuration.features.contains(.ringIndirectDescriptors)
        // Without INDIRECT_DESC a key that no descriptor has: a flag bit below the shift is always 0.
        plainKey = allowsIndirect ? (48 | 4 << 32) << 16 : 1
        notifiesOnEmpty = configuration.features.contains(.notifyOnEmpty)
        mustNotify = !Observer.breaks(.signalAtStart)

        let scratch = unsafe configuration.scratch
        unsafe isBusy = scratch.bindMemory(to: UInt8.self, capacity: queueSize)
        let heads = unsafe (scratch + (queueSize + 1) & ~1).bindMemory(to: UInt16.self, capacity: 2 * queueSize)
        unsafe stagedHeads = heads
        unsafe resubmitHeads = heads + queueSize
        unsafe isBusy.update(repeating: 0, count: queueSize)

        self.observer = observer
        unsafe inflight = configuration.inflight?.base
        lastBatchHead = 0
        counter = 0
        resubmitEnd = 0
        resubmitLeft = 0
        // The used index is ours; it lives in guest memory because the next device instance reads it there (2.7.8).
        let usedIndex = unsafe usedRing.shared16(at: 2)
        usedPublished = usedIndex
        usedStaged = usedIndex
        usedSignalled = usedIndex
        availNext = configuration.base.splitAvailIndex
        availSeen = availNext
        var taken = Int(availNext &- usedIndex)
        if let region = configuration.inflight {
            let recovery = try SplitInflight.recover(region, queueSize: queueSize, usedIndex: usedIndex, &self.observer)
            if let recovery {
                // What the earlier daemon had popped is what is used plus what is in flight; the base the front-end tells may be stale.
                taken = recovery.heads.count
                if !Observer.breaks(.positionFromRegion) { availNext = usedIndex &+ UInt16(truncatingIfNeeded: taken) }
                availSeen = availNext
                counter = recovery.counter
                lastBatchHead = recovery.lastBatchHead
                for (index, head) in recovery.heads.enumerated() {
                    unsafe resubmitHeads[index] = head
                    unsafe isBusy[Int(head)] = 1
                }
                resubmitEnd = Int32(taken)
                resubmitLeft = resubmitEnd
            }
        }
        strayCount = taken - Int(resubmitEnd)
        if taken > queueSize { throw .invalidBase(configuration.base) }
    }

    static func checkAlignment(_ addresses: RingAddresses) throws(VirtqueueError) {
        if unsafe UInt(bitPattern: addresses.descriptors) & 15 != 0 || UInt(bitPattern: addresses.driver) & 1 != 0
            || UInt(bitPattern: addresses.device) & 3 != 0
        {
            throw .misalignedArea
        }
    }

    /// Goes on at other addresses for the same ring, after the memory table changed.
    public mutating func relocate(_ addresses: RingAddresses) throws(VirtqueueError) {
        try Self.checkAlignment(addresses)
        unsafe descriptors = addresses.descriptors
        unsafe availRing = addresses.driver
        unsafe usedRing = addresses.device
    }

    /// The next avail index.
    public var base: RingBase { RingBase(split: availNext) }

    /// Chains popped and not yet pushed.
    public var inFlightCount: Int { Int(availNext &- usedStaged) - strayCount - resubmitCount }

    /// Chains from the inflight region that `pop` has yet to return.
    @inlinable public var resubmitCount: Int { Int(resubmitLeft) }
}

/// The split ring of the daemon.
public typealias SplitVirtqueue = SplitRing<Unobserved>
