/// What a job knows of its blocks: how often each was written, and whether something is in flight for it.
///
/// Used by the job's thread alone.
@safe
final class BlockLedger {
    // The memory is this object's own: taken in init, given back in deinit, and every index is below `count`.
    private let entries: UnsafeMutablePointer<UInt32>
    let count: UInt64
    /// Blocks whose content is known.
    private(set) var knownCount: UInt64 = 0

    private static let busy: UInt32 = 1 << 31
    private static let zeroed: UInt32 = 1 << 30
    private static let generations: UInt32 = zeroed - 1

    /// What a block must hold.
    enum Content: Equatable {
        case unknown
        case zeroes
        case pattern(generation: UInt32)
    }

    init(count: UInt64) {
        self.count = count
        unsafe entries = .allocate(capacity: Int(count))
        unsafe entries.initialize(repeating: 0, count: Int(count))
    }

    deinit {
        unsafe entries.deallocate()
    }

    private subscript(_ block: UInt64) -> UInt32 {
        get {
            precondition(block < count, "a block outside the ledger")
            return unsafe entries[Int(block)]
        }
        set {
            precondition(block < count, "a block outside the ledger")
            unsafe entries[Int(block)] = newValue
        }
    }

    /// Marks a block as in flight; false when it is already: the caller waits.
    func acquire(_ block: UInt64) -> Bool {
        if self[block] & Self.busy != 0 { return false }
        self[block] |= Self.busy
        return true
    }

    func release(_ block: UInt64) { self[block] &= ~Self.busy }

    /// The next generation of a block that is about to be written.
    func nextGeneration(_ block: UInt64) -> UInt32 {
        let old = self[block]
        if old & ~Self.busy == 0 { knownCount += 1 }
        // A zeroed block goes on counting at 1: its generations before are history.
        let generation = old & Self.zeroed != 0 ? 1 : (old & Self.generations) % (Self.generations - 1) + 1
        self[block] = old & Self.busy | generation
        return generation
    }

    /// A block that is about to be zeroed.
    func markZeroed(_ block: UInt64) {
        let old = self[block]
        if old & ~Self.busy == 0 { knownCount += 1 }
        self[block] = old & Self.busy | Self.zeroed
    }

    func content(_ block: UInt64) -> Content {
        let entry = self[block] & ~Self.busy
        if entry == 0 { return .unknown }
        return entry & Self.zeroed != 0 ? .zeroes : .pattern(generation: entry)
    }

    /// The first block from `start` on whose content is known.
    func firstKnown(from start: UInt64) -> UInt64? {
        var block = start
        while block < count {
            if self[block] & ~Self.busy != 0 { return block }
            block += 1
        }
        return nil
    }
}
