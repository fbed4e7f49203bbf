/// One thread's way into a `GuestMemory`: its region table and the region that was hit last.
///
/// It owns nothing: whoever holds the view holds the `GuestMemory` too.
///
/// Safety: every pointer it hands out is checked against a region of the table, hence @safe; the raw table pointer is only read in bounds of `count`.
@frozen
@safe
public struct GuestMemoryView {
    @usableFromInline let regions: UnsafePointer<MemoryRegion>
    @usableFromInline let count: Int
    // The region hit last, unpacked. A request's header, data and status mostly lie in one region, so two compares decide most look-ups.
    @usableFromInline var lastStart: UInt64
    @usableFromInline var lastSize: UInt64
    @usableFromInline var lastBase: UnsafeMutableRawPointer

    @usableFromInline
    init(regions: UnsafePointer<MemoryRegion>, count: Int) {
        unsafe self.regions = unsafe regions
        self.count = count
        if count > 0 {
            lastStart = unsafe regions[0].guestAddress
            lastSize = unsafe regions[0].size
            unsafe lastBase = regions[0].hostBase
        } else {
            // Size 0 never hits, so the base, which only has to be a pointer, is never used.
            lastStart = 0
            lastSize = 0
            unsafe lastBase = UnsafeMutableRawPointer(mutating: regions)
        }
    }

    /// Where the `length` bytes at guest physical `address` are mapped, if they lie wholly inside one region.
    @inlinable
    @inline(__always)
    public mutating func translate(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawPointer? {
        // A wrap below the start makes a huge offset, which the first compare refuses: no sum can overflow here.
        let offset = address &- lastStart
        if offset < lastSize, length <= lastSize &- offset {
            return unsafe lastBase + Int(truncatingIfNeeded: offset)
        }
        return unsafe translateSlowly(address, length)
    }

    @inlinable
    @inline(never)
    mutating func translateSlowly(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawPointer? {
        guard find(address), length <= lastSize &- (address &- lastStart) else { return nil }
        return unsafe lastBase + Int(truncatingIfNeeded: address &- lastStart)
    }

    /// The mapped bytes at guest physical `address` up to the end of its region, at most `length` of them; a count of 0 means unmapped.
    ///
    /// For buffers that span adjacent regions: go on at `address + count`.
    @inlinable
    @inline(never)
    public mutating func prefix(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawBufferPointer {
        guard find(address) else { return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        let offset = address &- lastStart
        let size = min(length, lastSize &- offset)
        return unsafe UnsafeMutableRawBufferPointer(start: lastBase + Int(truncatingIfNeeded: offset), count: Int(truncatingIfNeeded: size))
    }

    /// Makes the region that holds `address` the last one hit; false if there is none.
    @inlinable
    mutating func find(_ address: UInt64) -> Bool {
        if address &- lastStart < lastSize { return true }
        // The regions are sorted and disjoint: the candidate is the last one that begins at or below the address.
        var low = 0
        var high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if unsafe regions[middle].guestAddress <= address { low = middle &+ 1 } else { high = middle }
        }
        guard low > 0 else { return false }
        let region = unsafe regions[low &- 1]
        guard address &- region.guestAddress < region.size else { return false }
        lastStart = region.guestAddress
        lastSize = region.size
        unsafe lastBase = region.hostBase
        return true
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
