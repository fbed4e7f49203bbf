/// A packed queue's part of the inflight region, bit for bit as the vhost-user specification has it.
///
/// ```
///        0           8          10         12          14              16
///  0     | features  | version  | desc_num | free_head | old_free_head |
///        16          18             20                  21                      22        32
///  16    | used_idx  | old_used_idx | used_wrap_counter | old_used_wrap_counter | padding |
///        0           1         2      4      6     8         16    18      20    24     32
///  32+   | inflight  | padding | next | last | num | counter | id  | flags | len | addr |    QueueRegionPacked.desc[]
/// ```
/// The entries of a chain are linked by `next`, from the head, which alone has `inflight`, `last`, `num` and `counter`, to `last`. The others
/// form the free list, which ends with desc_num.
@usableFromInline
enum PackedInflight {
    @usableFromInline static let headerBytes = 32
    @usableFromInline static let entryBytes = 32
    @usableFromInline static let freeHeadOffset = 12
    @usableFromInline static let usedIndexOffset = 16
    @usableFromInline static let nextOffset = 2
    @usableFromInline static let lastOffset = 4
    @usableFromInline static let countOffset = 6
    @usableFromInline static let counterOffset = 8
    @usableFromInline static let descriptorOffset = 16
    @usableFromInline static let addressOffset = 24

    /// Where an entry begins.
    @inlinable
    @inline(__always)
    static func offset(_ entry: UInt16) -> Int { headerBytes &+ Int(entry) &* entryBytes }

    /// free_head and old_free_head as one word.
    @inlinable
    @inline(__always)
    static func freeWord(new: UInt16, old: UInt16) -> UInt32 { UInt32(new) | UInt32(old) << 16 }

    /// used_idx, old_used_idx, used_wrap_counter and old_used_wrap_counter as one word.
    @inlinable
    @inline(__always)
    static func usedWord(new: (index: UInt32, wrap: Bool), old: (index: UInt32, wrap: Bool)) -> UInt64 {
        UInt64(new.index) | UInt64(old.index) << 16 | (new.wrap ? 1 << 32 : 0) | (old.wrap ? 1 << 40 : 0)
    }

    /// Copies a ring descriptor into a free entry. Nothing refers to the entry yet.
    @inlinable
    @inline(__always)
    static func record<Observer: StoreObserver>(
        _ descriptor: DescriptorCopy, at entry: UInt16, in region: UnsafeMutableRawPointer, _ observer: inout Observer
    ) {
        let place = unsafe region + offset(entry)
        // The ring has len, id, flags; the region id, flags, len: the halves of the word change places.
        let word = descriptor.meta >> 32 | descriptor.meta << 32
        unsafe observer.store64(word, place + descriptorOffset)
        unsafe observer.store64(descriptor.address, place + addressOffset)
    }

    /// The recorded descriptor; as untrusted as one from the ring.
    @inlinable
    static func recorded(at entry: UInt16, in region: UnsafeMutableRawPointer) -> DescriptorCopy {
        let place = unsafe region + offset(entry)
        let word = unsafe place.shared64(at: descriptorOffset)
        return unsafe DescriptorCopy(address: place.shared64(at: addressOffset), meta: word >> 32 | word << 32)
    }

    /// Turns the entries just recorded into a chain in flight.
    @inlinable
    @inline(__always)
    static func commitPop<Observer: StoreObserver>(
        _ entries: inout PackedInflightTables, _ walk: PackedWalk, in region: UnsafeMutableRawPointer, _ observer: inout Observer
    ) {
        unsafe entries.last[Int(entries.freeHead)] = walk.lastEntry
        let head = unsafe region + offset(entries.freeHead)
        let free = freeWord(new: walk.nextEntry, old: walk.nextEntry)
        if Observer.breaks(.packedFieldsBeforeFreeHead) { unsafe observer.release32(free, region + freeHeadOffset) }
        // last and num in one store.
        unsafe observer.store32(UInt32(walk.lastEntry) | walk.slots << 16, head + lastOffset)
        if Observer.breaks(.packedCounterBeforeFreeHead) {
            unsafe observer.release8(1, head)
            unsafe observer.release32(free, region + freeHeadOffset)
        }
        unsafe observer.store64(entries.counter, head + counterOffset)
        if Observer.breaks(.packedMarkBeforeFreeHead) { unsafe observer.release32(free, region + freeHeadOffset) }
        // Release: the mark makes the fields above valid.
        unsafe observer.release8(1, head)
        // Release, and the commit: until the free heads move on, recovery finds the entry in the free list and takes the mark off, and the
        // chain is popped from the ring again. Both heads are stored as one word, so that they never differ but inside a publish.
        unsafe observer.release32(free, region + freeHeadOffset)
        entries.counter &+= 1
        entries.freeHead = walk.nextEntry
    }

    /// Puts the staged chains' entries at the head of the free list. The links inside a chain stay, so that going back needs only the old
    /// head.
    @inlinable
    @inline(__always)
    static func linkFree<Observer: StoreObserver>(
        _ entries: inout PackedInflightTables, in region: UnsafeMutableRawPointer, _ observer: inout Observer
    ) {
        for index in 0..<Int(entries.stagedCount) {
            let head = unsafe entries.staged[index]
            let last = unsafe entries.last[Int(head)]
            unsafe entries.next[Int(last)] = entries.freeHead
            unsafe observer.store16(entries.freeHead, region + offset(last) + nextOffset)
            entries.freeHead = head
        }
    }
}
