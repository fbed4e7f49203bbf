/// A split queue's part of the inflight region, bit for bit as the vhost-user specification has it.
///
/// ```
///        0           8          10         12                14         16
///  0     | features  | version  | desc_num | last_batch_head | used_idx |
///        0           1          6          8           16
///  16+   | inflight  | padding  | next     | counter   |      one entry per head descriptor, QueueRegionSplit.desc[]
/// ```
@usableFromInline
enum SplitInflight {
    @usableFromInline static let headerBytes = 16
    @usableFromInline static let entryBytes = 16
    @usableFromInline static let lastBatchHeadOffset = 12
    @usableFromInline static let usedIndexOffset = 14
    @usableFromInline static let nextOffset = 6
    @usableFromInline static let counterOffset = 8

    /// What a part that is in use tells.
    struct Recovery {
        /// Heads in flight, in the order in which they were popped.
        var heads: [UInt16]
        /// The next value of the global counter.
        var counter: UInt64
        var lastBatchHead: UInt16
    }

    /// Makes a fresh part usable, or repairs one in use after a crash and reads it; nil if it was fresh.
    static func recover<Observer: StoreObserver>(
        _ region: InflightQueue, queueSize: Int, usedIndex: UInt16, _ observer: inout Observer
    ) throws(VirtqueueError) -> Recovery? {
        guard try InflightHeader.isInUse(region, queueSize: queueSize) else {
            format(region, usedIndex: usedIndex, &observer)
            return nil
        }
        let base = unsafe region.base
        var marks = [Bool](repeating: false, count: region.entryCount)
        for index in 0..<region.entryCount {
            let mark = unsafe base.shared8(at: headerBytes + index * entryBytes)
            guard mark <= 1, mark == 0 || index < queueSize else { throw .damagedInflightRegion("entry \(index) is marked \(mark)") }
            marks[index] = mark == 1
        }
        let lastBatchHead = unsafe base.shared16(at: lastBatchHeadOffset)
        let batch = usedIndex &- (unsafe base.shared16(at: usedIndexOffset))
        if batch != 0 {
            // The daemon died between the store of the used ring's idx and that of region.used_idx: the last `batch` used entries may
            // still be marked. With nothing marked there is nothing to unmark, whatever the distance (the region of a drained queue).
            if Observer.breaks(.splitRecoveryIndexAfterMarks) { unsafe observer.release16(usedIndex, base + usedIndexOffset) }
            if marks.contains(true), !Observer.breaks(.splitLastBatchUnmarked) {
                unsafe try clearBatch(base, first: lastBatchHead, size: Int(batch), queueSize: queueSize, &marks, &observer)
            }
            // Release: the marks are gone before the batch is declared over; a crash before this store repeats the same steps.
            unsafe observer.release16(usedIndex, base + usedIndexOffset)
        }
        let inFlight = (0..<queueSize).filter { marks[$0] }
            .map { (head: UInt16($0), counter: unsafe base.shared64(at: headerBytes + $0 * entryBytes + counterOffset)) }
            .sorted { Observer.breaks(.resubmissionInOrder) ? $0.head < $1.head : ($0.counter, $0.head) < ($1.counter, $1.head) }
        let counter = Observer.breaks(.counterContinues) ? 0 : (inFlight.last?.counter ?? 0) &+ 1
        return Recovery(heads: inFlight.map(\.head), counter: counter, lastBatchHead: lastBatchHead)
    }

    /// Unmarks the entries of the last batch, which is a list from `first`.
    private static func clearBatch<Observer: StoreObserver>(
        _ base: UnsafeMutableRawPointer, first: UInt16, size: Int, queueSize: Int, _ marks: inout [Bool], _ observer: inout Observer
    ) throws(VirtqueueError) {
        guard size <= queueSize else { throw .damagedInflightRegion("used_idx is \(size) behind the ring") }
        // The whole list is checked before the first mark goes: each head once and in range.
        var list: [UInt16] = []
        var isListed = [Bool](repeating: false, count: queueSize)
        var head = first
        for _ in 0..<size {
            guard Int(head) < queueSize else { throw .damagedInflightRegion("the last batch names descriptor \(head)") }
            guard !isListed[Int(head)] else { throw .damagedInflightRegion("the last batch loops at descriptor \(head)") }
            isListed[Int(head)] = true
            list.append(head)
            head = unsafe base.shared16(at: headerBytes + Int(head) * entryBytes + nextOffset)
        }
        for head in list {
            unsafe observer.store8(0, base + headerBytes + Int(head) * entryBytes)
            marks[Int(head)] = false
        }
    }

    private static func format<Observer: StoreObserver>(_ region: InflightQueue, usedIndex: UInt16, _ observer: inout Observer) {
        let base = unsafe region.base
        unsafe observer.store64(0, base)
        if Observer.breaks(.freshVersionLast) { unsafe observer.release16(InflightHeader.version, base + InflightHeader.versionOffset) }
        for index in 0..<region.entryCount {
            unsafe observer.store64(0, base + headerBytes + index * entryBytes)
            unsafe observer.store64(0, base + headerBytes + index * entryBytes + 8)
        }
        unsafe observer.store16(UInt16(region.entryCount), base + InflightHeader.entryCountOffset)
        unsafe observer.store16(0, base + lastBatchHeadOffset)
        // From the ring, not 0: in a migrated machine the ring has a past, and a difference would be taken for an unfinished batch that
        // unmarks descriptor 0 (known from other back-ends).
        unsafe observer.store16(Observer.breaks(.freshUsedPositionFromRing) ? 0 : usedIndex, base + usedIndexOffset)
        // Release: the version makes the part valid, so it comes last.
        unsafe observer.release16(InflightHeader.version, base + InflightHeader.versionOffset)
    }
}
