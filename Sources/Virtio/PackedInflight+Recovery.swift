extension PackedInflight {
    /// What a part that is in use tells.
    struct Recovery {
        /// Where the next used descriptor goes.
        var used: PackedPosition
        /// Ring descriptors of the chains in flight.
        var takenSlots: UInt32
        /// Chains in flight; they are in the tables' resubmit lists, in the order in which they were popped.
        var chainCount: Int
        /// The next value of the global counter.
        var counter: UInt64
        var freeHead: UInt16
    }

    /// The heads of a part, as recovery reads them.
    private struct Heads: Equatable {
        var used: PackedPosition
        var free: UInt16
    }

    /// Makes a fresh part usable, or repairs one in use after a crash and reads it into `tables`; nil if it was fresh.
    static func recover<Observer: StoreObserver>(
        _ region: InflightQueue, queueSize: Int, fresh: PackedPosition, ring: UnsafeMutableRawPointer, _ tables: PackedInflightTables,
        _ observer: inout Observer
    ) throws(VirtqueueError) -> Recovery? {
        guard try InflightHeader.isInUse(region, queueSize: queueSize) else {
            format(region, used: fresh, &observer)
            return nil
        }
        let base = unsafe region.base
        let heads = unsafe try settle(base, queueSize: queueSize, ring: ring, &observer)
        var isFree = [Bool](repeating: false, count: region.entryCount)
        try readFreeList(region, head: heads.free, tables, &isFree, &observer)
        var chains = try readChains(region, queueSize: queueSize, tables, isFree)
        if Observer.breaks(.resubmissionInOrder) { chains.sort { $0.head < $1.head } }
        var taken = 0
        for (index, chain) in chains.enumerated() {
            unsafe tables.resubmit[index] = chain.head
            unsafe tables.resubmitSlots[index] = UInt16(chain.count)
            unsafe tables.resubmitID[index] = base.shared16(at: offset(tables.last[Int(chain.head)]) + descriptorOffset)
            taken += chain.count
        }
        guard taken <= queueSize else { throw .damagedInflightRegion("\(taken) descriptors in flight on a queue of \(queueSize)") }
        if !Observer.breaks(.packedLeftoversTakenBack) {
            unsafe repair(ring, from: heads.used, count: UInt32(taken), queueSize: UInt32(queueSize), &observer)
        }
        return Recovery(
            used: heads.used, takenSlots: UInt32(taken), chainCount: chains.count,
            counter: Observer.breaks(.counterContinues) ? 0 : (chains.last?.counter ?? 0) &+ 1, freeHead: heads.free)
    }

    /// Steps 1 and 2 of "When reconnecting": decides whether the last batch was used, and makes new and old heads the same.
    private static func settle<Observer: StoreObserver>(
        _ base: UnsafeMutableRawPointer, queueSize: Int, ring: UnsafeMutableRawPointer, _ observer: inout Observer
    ) throws(VirtqueueError) -> Heads {
        let free = unsafe base.shared32(at: freeHeadOffset)
        let used = unsafe base.shared64(at: usedIndexOffset)
        func position(index: UInt64, wrap: UInt64) throws(VirtqueueError) -> PackedPosition {
            guard index < queueSize, wrap <= 1 else { throw .damagedInflightRegion("used position \(index), wrap counter \(wrap)") }
            return PackedPosition(index: UInt32(index), wrap: wrap == 1)
        }
        let new = try Heads(used: position(index: used & 0xffff, wrap: used >> 32 & 0xff), free: UInt16(truncatingIfNeeded: free))
        let old = try Heads(
            used: position(index: used >> 16 & 0xffff, wrap: used >> 40 & 0xff), free: UInt16(truncatingIfNeeded: free >> 16))
        var settled = old
        // Index and wrap counter are compared, not the index alone as the specification says: a batch of the whole ring changes only the
        // wrap counter.
        let hasMoved = Observer.breaks(.packedWrapCompared) ? new.used.index != old.used.index : new.used != old.used
        if hasMoved, !Observer.breaks(.packedBatchDecidedByRing) {
            let meta = unsafe ring.shared64(at: Int(old.used.index) * 16 + 8)
            // Not available any more: the batch's first descriptor was used, or used and made available again. The batch counts.
            if meta & PackedFormat.ownership != PackedFormat.available(old.used.wrap) { settled = new }
        }
        if new != settled || old != settled {
            // Release, free heads first, as in publish: a crash in between leaves a state that settles to the same.
            let pair = (index: settled.used.index, wrap: settled.used.wrap)
            let used = usedWord(new: pair, old: pair)
            if Observer.breaks(.packedRecoveryFreeHeadsFirst) { unsafe observer.release64(used, base + usedIndexOffset) }
            unsafe observer.release32(freeWord(new: settled.free, old: settled.free), base + freeHeadOffset)
            unsafe observer.release64(used, base + usedIndexOffset)
        }
        return settled
    }

    /// Step 3: nothing in the free list is in flight. The list is checked: each entry once, desc_num at the end.
    private static func readFreeList<Observer: StoreObserver>(
        _ region: InflightQueue, head: UInt16, _ tables: PackedInflightTables, _ isFree: inout [Bool], _ observer: inout Observer
    ) throws(VirtqueueError) {
        var entry = head
        while Int(entry) != region.entryCount {
            guard Int(entry) < region.entryCount else { throw .damagedInflightRegion("the free list names entry \(entry)") }
            guard !isFree[Int(entry)] else { throw .damagedInflightRegion("the free list loops at entry \(entry)") }
            isFree[Int(entry)] = true
            let place = unsafe region.base + offset(entry)
            if unsafe place.shared8() != 0, !Observer.breaks(.packedFreeEntriesUnmarked) { unsafe observer.store8(0, place) }
            let next = unsafe place.shared16(at: nextOffset)
            unsafe tables.next[Int(entry)] = next
            entry = next
        }
    }

    /// The chains in flight, by counter. Together with the free list they must hold every entry exactly once.
    private static func readChains(
        _ region: InflightQueue, queueSize: Int, _ tables: PackedInflightTables, _ isFree: [Bool]
    ) throws(VirtqueueError) -> [(head: UInt16, count: Int, counter: UInt64)] {
        var isTaken = isFree
        var chains: [(head: UInt16, count: Int, counter: UInt64)] = []
        for head in 0..<region.entryCount where !isFree[head] {
            let place = unsafe region.base + offset(UInt16(head))
            let mark = unsafe place.shared8()
            if mark == 0 { continue }
            let count = Int(unsafe place.shared16(at: countOffset))
            guard mark == 1, count >= 1, count <= queueSize else {
                throw .damagedInflightRegion("entry \(head) is marked \(mark) with \(count) descriptors")
            }
            var entry = head
            for step in 0..<count {
                guard entry < region.entryCount, !isTaken[entry] else {
                    throw .damagedInflightRegion("the chain of entry \(head) leads to entry \(entry)")
                }
                isTaken[entry] = true
                unsafe tables.last[head] = UInt16(entry)
                if step + 1 < count {
                    let next = unsafe region.base.shared16(at: offset(UInt16(entry)) + nextOffset)
                    unsafe tables.next[entry] = next
                    entry = Int(next)
                }
            }
            chains.append((UInt16(head), count, unsafe place.shared64(at: counterOffset)))
        }
        if let lost = isTaken.firstIndex(of: false) { throw .damagedInflightRegion("entry \(lost) is neither free nor in flight") }
        return chains.sorted { ($0.counter, $0.head) < ($1.counter, $1.head) }
    }

    /// A batch that did not commit may have left used descriptors behind its first one. Completions can come in another order and number
    /// this time, and the driver would take those for further used buffers: they get the ownership bits of popped descriptors back.
    private static func repair<Observer: StoreObserver>(
        _ ring: UnsafeMutableRawPointer, from start: PackedPosition, count: UInt32, queueSize: UInt32, _ observer: inout Observer
    ) {
        for slot in 0..<count {
            let place = start.advanced(by: slot, queueSize: queueSize)
            let flags = unsafe ring + Int(place.index) * 16 + 14
            if unsafe flags.shared16() & 0x8080 == UInt16(PackedFormat.used(place.wrap) >> 48) {
                unsafe observer.store16(UInt16(PackedFormat.available(place.wrap) >> 48), flags)
            }
        }
    }

    private static func format<Observer: StoreObserver>(_ region: InflightQueue, used: PackedPosition, _ observer: inout Observer) {
        let base = unsafe region.base
        unsafe observer.store64(0, base)
        if Observer.breaks(.freshVersionLast) { unsafe observer.release16(InflightHeader.version, base + InflightHeader.versionOffset) }
        for index in 0..<UInt16(region.entryCount) {
            for word in 0..<entryBytes / 8 {
                unsafe observer.store64(0, base + offset(index) + 8 * word)
            }
            unsafe observer.store16(index + 1, base + offset(index) + nextOffset)
        }
        unsafe observer.store16(UInt16(region.entryCount), base + InflightHeader.entryCountOffset)
        unsafe observer.store32(0, base + freeHeadOffset)
        let pair = Observer.breaks(.freshUsedPositionFromRing) ? (index: 0, wrap: true) : (index: used.index, wrap: used.wrap)
        unsafe observer.store64(usedWord(new: pair, old: pair), base + usedIndexOffset)
        // Release: the version makes the part valid, so it comes last.
        unsafe observer.release16(InflightHeader.version, base + InflightHeader.versionOffset)
    }
}
