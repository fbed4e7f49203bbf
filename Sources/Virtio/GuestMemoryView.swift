/// One thread's way into a `GuestMemory`. A look-up may change it, so each thread has its own.
///
/// It owns nothing: whoever holds the view holds the `GuestMemory` too.
///
/// Safety: every pointer it hands out is checked against a region of the table, hence @safe; the table pointers are only read in bounds.
@frozen
@safe
public struct GuestMemoryView {
    @usableFromInline let regions: UnsafePointer<MemoryRegion>
    @usableFromInline let count: Int
    /// The short way into the two largest regions.
    public let windows: MemoryWindows
    /// Addresses go through an IOTLB, which asks for what it misses.
    @usableFromInline let isTranslated: Bool
    /// The first access that was missed since this was cleared; nil without an IOTLB.
    public var miss: MemoryMiss?
    /// An access that the front-end denied: not missed any more, but a fault. Cleared with the chain it was about.
    public var denied: MemoryMiss?
    /// Another one was denied after it: no access is missed any more.
    public var deniesAll = false

    @usableFromInline
    init(regions: UnsafePointer<MemoryRegion>, count: Int, windows: MemoryWindows, isTranslated: Bool) {
        self.isTranslated = isTranslated
        unsafe self.regions = unsafe regions
        self.count = count
        self.windows = windows
    }

    /// Where the `length` bytes at guest physical `address` are mapped, if they lie wholly inside one region.
    @inlinable
    public mutating func translate(
        _ address: UInt64, _ length: UInt64, for access: MemoryAccess = .read
    ) -> UnsafeMutableRawPointer? {
        let piece = unsafe prefix(address, max(length, 1), for: access)
        return UInt64(piece.count) >= length ? piece.baseAddress : nil
    }

    /// The mapped bytes at guest physical `address` up to the end of its region, at most `length` of them; a count of 0 means unmapped.
    ///
    /// For buffers that span adjacent regions: go on at `address + count`.
    @inlinable
    @inline(never)
    public mutating func prefix(
        _ address: UInt64, _ length: UInt64, for access: MemoryAccess = .read
    ) -> UnsafeMutableRawBufferPointer {
        // The regions are sorted and disjoint: the candidate is the last one that begins at or below the address.
        var low = 0
        var high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if unsafe regions[middle].guestAddress <= address { low = middle &+ 1 } else { high = middle }
        }
        guard low > 0 else { return unsafe unmapped(address, access) }
        let region = unsafe regions[low &- 1]
        let offset = address &- region.guestAddress
        guard offset < region.size, region.access.isSuperset(of: access) else { return unsafe unmapped(address, access) }
        let size = min(length, region.size &- offset)
        return unsafe UnsafeMutableRawBufferPointer(
            start: region.hostBase + Int(truncatingIfNeeded: offset), count: Int(truncatingIfNeeded: size))
    }

    /// No bytes; with an IOTLB the access is a miss, unless the front-end denied it.
    @inlinable
    mutating func unmapped(_ address: UInt64, _ access: MemoryAccess) -> UnsafeMutableRawBufferPointer {
        if isTranslated, miss == nil, !deniesAll {
            let found = MemoryMiss(address: address, access: access)
            if denied?.page != found.page || denied?.access != access { miss = found }
        }
        return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    /// Forgets what was denied: the chain it was about has been taken.
    @inlinable
    public mutating func forgetDenied() {
        denied = nil
        deniesAll = false
    }

    /// Where the `length` bytes at `address` of the front-end's own address space are mapped, if they lie wholly inside one region.
    ///
    /// Ring addresses are of this kind (vhost-user specification, "Vring address description"). Not for the data path: it walks the table.
    public func translateFrontend(_ address: UInt64, length: UInt64) -> UnsafeMutableRawPointer? {
        for index in 0..<count {
            let region = unsafe regions[index]
            let offset = address &- region.frontendAddress
            if offset < region.size, length <= region.size &- offset {
                return unsafe region.hostBase + Int(truncatingIfNeeded: offset)
            }
        }
        return nil
    }
}
