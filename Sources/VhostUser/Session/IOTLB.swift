import Virtio

/// The translations that a front-end with an IOMMU gave (IOTLB_MSG): ranges of I/O virtual addresses, sorted and disjoint.
///
/// It is a cache: any entry may go at any time, and is asked for again when it is needed. So the number of entries is bounded by letting
/// others go.
struct IOTLB {
    struct Entry: Equatable {
        var iova: UInt64
        /// The last address, not the one behind it, which may be 2^64.
        var last: UInt64
        var frontendAddress: UInt64
        var access: MemoryAccess

        /// The part from `start` to `end`, both inside.
        func part(_ start: UInt64, _ end: UInt64) -> Entry {
            Entry(iova: start, last: end, frontendAddress: frontendAddress + (start - iova), access: access)
        }

        /// Whether the addresses that both have are where `other` says, for as much access.
        func says(the other: Entry) -> Bool {
            frontendAddress &- iova == other.frontendAddress &- other.iova && access.isSuperset(of: other.access)
        }
    }

    private(set) var entries: [Entry] = []

    /// Takes an entry in place of all that it overlaps. When there are `limit` already, all others go but those that `isPinned`; those too
    /// when they are so many themselves, as translations of single bytes would be.
    ///
    /// - Returns: whether pinned addresses lost their translation, or have another one now.
    mutating func update(_ entry: Entry, limit: Int, isPinned: (Entry) -> Bool) -> Bool {
        var hasMoved = entries[overlapping(entry.iova, entry.last)].contains { !entry.says(the: $0) && isPinned($0) }
        invalidate(entry.iova, entry.last)
        if entries.count >= limit {
            entries.removeAll { !isPinned($0) }
            if entries.count >= limit {
                entries = []
                hasMoved = true
            }
        }
        entries.insert(entry, at: firstIndex(from: entry.iova))
        return hasMoved
    }

    /// Lets go of all translations of the addresses from `first` to `last`, of parts of entries too.
    mutating func invalidate(_ first: UInt64, _ last: UInt64) {
        let gone = overlapping(first, last)
        var rest: [Entry] = []
        for entry in entries[gone] {
            if entry.iova < first { rest.append(entry.part(entry.iova, first - 1)) }
            if entry.last > last { rest.append(entry.part(last + 1, entry.last)) }
        }
        entries.replaceSubrange(gone, with: rest)
    }

    /// The entries that have addresses from `first` to `last`.
    private func overlapping(_ first: UInt64, _ last: UInt64) -> Range<Int> {
        var low = firstIndex(from: first)
        if low > 0, entries[low - 1].last >= first { low -= 1 }
        var high = low
        while high < entries.count, entries[high].iova <= last { high += 1 }
        return low..<high
    }

    /// Keeps only what `isValid`.
    mutating func keepAll(where isValid: (Entry) -> Bool) { entries.removeAll { !isValid($0) } }

    /// Whether the address is translated for that access.
    func covers(_ miss: MemoryMiss) -> Bool {
        let index = firstIndex(from: miss.address)
        if index < entries.count, entries[index].iova == miss.address { return entries[index].access.isSuperset(of: miss.access) }
        guard index > 0, entries[index - 1].last >= miss.address else { return false }
        return entries[index - 1].access.isSuperset(of: miss.access)
    }

    /// A snapshot for rings over a memory table, in which every entry lies.
    func snapshot(over table: GuestMemory) -> GuestMemory {
        let view = table.view
        let regions = entries.compactMap { entry -> MemoryRegion? in
            let size = entry.last - entry.iova + 1
            guard let base = unsafe view.translateFrontend(entry.frontendAddress, length: size) else { return nil }
            var region = unsafe MemoryRegion(
                guestAddress: entry.iova, size: size, frontendAddress: entry.frontendAddress, hostBase: base)
            region.access = entry.access
            return region
        }
        return GuestMemory(table: table, translations: regions)
    }

    /// The first entry that begins at or behind an address.
    private func firstIndex(from iova: UInt64) -> Int {
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].iova < iova { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
