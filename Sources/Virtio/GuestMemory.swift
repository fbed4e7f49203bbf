public import LinuxSystem

/// Why a region table was refused.
public enum GuestMemoryError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The region at this index of the given table has no bytes.
    case emptyRegion(Int)
    /// The region at this index ends past 2^64, in guest or in front-end addresses, or is larger than 2^61 bytes.
    case addressOverflow(Int)
    /// Two regions claim the same guest addresses; the number is the guest address where the second of them begins.
    case overlap(UInt64)

    /// The refusal as a person reads it.
    public var description: String {
        switch self {
        case .emptyRegion(let index): "memory region \(index) has size 0"
        case .addressOverflow(let index): "memory region \(index) is too large or ends past 2^64"
        case .overlap(let address): "memory regions overlap at guest address 0x\(String(address, radix: 16))"
        }
    }
}

/// An immutable snapshot of a guest's memory table.
///
/// A change of the table makes a new snapshot; the old one, and with it the mappings it retains, goes when the last poller has let go of it.
/// Any thread may use it.
///
/// Safety: the pointer is written once in init, read-only after that and freed in deinit, hence both marks.
@safe
public final class GuestMemory: @unchecked Sendable {
    private let regionTable: UnsafeMutablePointer<MemoryRegion>
    private let windows: UnsafeMutablePointer<MemoryWindow>
    /// Number of regions.
    public let regionCount: Int
    private let owners: [any Sendable]
    /// The memory table behind a snapshot of an IOTLB, or of memory that is awaited.
    private let table: GuestMemory?
    /// Whether this is a snapshot of an IOTLB.
    public let isTranslated: Bool
    /// With this, pages of the memory may be missing yet: whoever touches one waits, and data is for the kernel only after
    /// `AwaitedMemory.touch`.
    public let awaited: AwaitedMemory?

    /// Makes a snapshot of `regions`, in any order, and keeps `owners` (the mappings the regions point into) alive with it.
    public init(regions: [MemoryRegion], owners: [any Sendable]) throws(GuestMemoryError) {
        for (index, region) in regions.enumerated() {
            if region.size == 0 { throw .emptyRegion(index) }
            if region.size > 1 << 61 { throw .addressOverflow(index) }
            if region.guestAddress.addingReportingOverflow(region.size).overflow { throw .addressOverflow(index) }
            if region.frontendAddress.addingReportingOverflow(region.size).overflow { throw .addressOverflow(index) }
        }
        let sorted = regions.sorted { $0.guestAddress < $1.guestAddress }
        for (lower, upper) in zip(sorted, sorted.dropFirst()) where upper.guestAddress - lower.guestAddress < lower.size {
            throw .overlap(upper.guestAddress)
        }
        unsafe regionTable = .allocate(capacity: max(sorted.count, 1))
        for (index, region) in sorted.enumerated() {
            unsafe (regionTable + index).initialize(to: region)
        }
        regionCount = sorted.count
        // The two largest regions, by address. A window nothing can be in stands for one that is missing.
        let largest = sorted.indices.sorted { sorted[$0].size > sorted[$1].size }.prefix(2).sorted()
        unsafe windows = .allocate(capacity: 2)
        for index in 0..<2 {
            let window =
                index < largest.count
                ? unsafe MemoryWindow(
                    start: sorted[largest[index]].guestAddress, size: sorted[largest[index]].size, base: sorted[largest[index]].hostBase)
                : unsafe MemoryWindow(start: .max, size: 0, base: UnsafeMutableRawPointer(regionTable))
            unsafe (windows + index).initialize(to: window)
        }
        self.owners = owners
        table = nil
        isTranslated = false
        awaited = nil
    }

    /// The same memory while its pages are awaited. No region is in a window, so that every request takes the way on which its pages are
    /// waited for.
    public init(_ table: GuestMemory, awaited: AwaitedMemory) {
        regionCount = table.regionCount
        unsafe regionTable = .allocate(capacity: max(regionCount, 1))
        unsafe regionTable.initialize(from: table.regionTable, count: regionCount)
        unsafe windows = Self.noWindows(regionTable)
        owners = []
        self.table = table
        isTranslated = false
        self.awaited = awaited
    }

    /// The memory table itself, when all of its pages are there.
    public var whenArrived: GuestMemory { table ?? self }

    /// Windows that nothing is in.
    private static func noWindows(_ anywhere: UnsafeMutablePointer<MemoryRegion>) -> UnsafeMutablePointer<MemoryWindow> {
        let windows = UnsafeMutablePointer<MemoryWindow>.allocate(capacity: 2)
        // The place is never followed: no address is in a window of size 0.
        unsafe windows.initialize(repeating: MemoryWindow(start: .max, size: 0, base: UnsafeMutableRawPointer(anywhere)), count: 2)
        return unsafe windows
    }

    /// Makes a snapshot of an IOTLB over the memory table `table`: look-ups of its view take I/O virtual addresses, which are the regions'
    /// `guestAddress`, and permissions count. `translations` are sorted and disjoint; neighbours that lie side by side in both spaces, and in
    /// one region of the table, become one. The way back, to guest physical addresses, is the table's: what a look-up finds has one.
    ///
    /// No region is in a window, so that every look-up takes the way on which permissions are checked and misses are noted, and the short
    /// way knows nothing of either.
    public init(table: GuestMemory, translations: [MemoryRegion]) {
        unsafe regionTable = .allocate(capacity: max(translations.count, 1))
        var count = 0
        for region in translations {
            if count > 0, unsafe regionTable[count - 1].isContinued(by: region), unsafe !table.hasRegion(at: region.hostBase) {
                unsafe regionTable[count - 1].size += region.size
            } else {
                unsafe (regionTable + count).initialize(to: region)
                count += 1
            }
        }
        regionCount = count
        unsafe windows = Self.noWindows(regionTable)
        owners = []
        self.table = table.table ?? table
        isTranslated = true
        awaited = table.awaited
    }

    /// Whether a region of the memory table begins at this place.
    private func hasRegion(at place: UnsafeRawPointer) -> Bool {
        if let table { return unsafe table.hasRegion(at: place) }
        // unsafe: addresses are compared as numbers; nothing is followed.
        return (0..<regionCount).contains { unsafe UnsafeRawPointer(regionTable[$0].hostBase) == place }
    }

    /// Whether both are of one memory table, so that what is mapped for one is mapped for the other.
    public func sharesTable(with other: GuestMemory) -> Bool { (table ?? self) === (other.table ?? other) }

    deinit {
        unsafe regionTable.deallocate()
        unsafe windows.deallocate()
    }

    /// The regions of the memory table in order of guest address.
    public var regions: [MemoryRegion] {
        if let table { return table.regions }
        return (0..<regionCount).map { unsafe regionTable[$0] }
    }

    /// The guest physical address of a place in one of the regions, as this process has them mapped; nil for any other place. Walks the
    /// table: for the dirty log, not for every request.
    public func guestAddress(of place: UnsafeRawPointer) -> UInt64? {
        if let table { return unsafe table.guestAddress(of: place) }
        for index in 0..<regionCount {
            let region = unsafe regionTable[index]
            // Addresses are compared as numbers; nothing is followed.
            let offset = unsafe UInt64(UInt(bitPattern: place) &- UInt(bitPattern: region.hostBase))
            if offset < region.size { return region.guestAddress + offset }
        }
        return nil
    }

    /// First guest physical address behind the last region.
    public var end: UInt64 { regions.last.map { $0.guestAddress + $0.size } ?? 0 }

    /// A view for one thread's use; it does not keep the snapshot alive.
    public var view: GuestMemoryView {
        unsafe GuestMemoryView(
            regions: UnsafePointer(regionTable), count: regionCount, windows: MemoryWindows(UnsafePointer(windows)),
            isTranslated: isTranslated)
    }
}
