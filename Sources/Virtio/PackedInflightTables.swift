/// A packed ring's own copy of the lists in its inflight part. The part itself is only written while the ring runs: the front-end can
/// change it at any time.
///
/// Safety: the tables lie in the ring's scratch block and have one element per entry; entry numbers come from these tables only.
@frozen
@safe
@usableFromInline
struct PackedInflightTables {
    /// The entry that follows, in a chain or in the free list.
    @usableFromInline let next: UnsafeMutablePointer<UInt16>
    /// By head: the last entry of its chain.
    @usableFromInline let last: UnsafeMutablePointer<UInt16>
    /// Heads of the chains pushed since the last publish.
    @usableFromInline let staged: UnsafeMutablePointer<UInt16>
    /// The chains to resubmit in order: head, number of descriptors, buffer id.
    @usableFromInline let resubmit: UnsafeMutablePointer<UInt16>
    @usableFromInline let resubmitSlots: UnsafeMutablePointer<UInt16>
    @usableFromInline let resubmitID: UnsafeMutablePointer<UInt16>
    @usableFromInline var stagedCount: Int32
    /// First entry of the free list; the number of entries if there is none.
    @usableFromInline var freeHead: UInt16
    /// The global counter.
    @usableFromInline var counter: UInt64

    static func bytes(entryCount: Int) -> Int { 6 * 2 * entryCount }

    /// Lays the tables out in scratch memory; all entries are free, in order.
    init(_ scratch: UnsafeMutableRawPointer, entryCount: Int) {
        let words = unsafe scratch.bindMemory(to: UInt16.self, capacity: 6 * entryCount)
        unsafe words.update(repeating: 0, count: 6 * entryCount)
        unsafe next = words
        unsafe last = words + entryCount
        unsafe staged = words + 2 * entryCount
        unsafe resubmit = words + 3 * entryCount
        unsafe resubmitSlots = words + 4 * entryCount
        unsafe resubmitID = words + 5 * entryCount
        stagedCount = 0
        freeHead = 0
        counter = 0
        for entry in 0..<entryCount {
            unsafe next[entry] = UInt16(entry + 1)
        }
    }

    /// Notes a pushed chain. There are at most as many as entries, since each takes one.
    @inlinable
    @inline(__always)
    mutating func stage(_ head: UInt16) {
        unsafe staged[Int(stagedCount)] = head
        stagedCount &+= 1
    }
}
