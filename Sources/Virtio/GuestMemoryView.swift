/// A region in the form a look-up wants, in a table of its own.
///
/// Safety: a pointer is made only for an offset below the size.
@frozen
@safe
@usableFromInline
struct MemoryWindow {
    @usableFromInline let start: UInt64
    @usableFromInline let size: UInt64
    /// What turns a guest address into ours.
    @usableFromInline let shift: UInt64
    // Makes it 32 bytes, which a shift can multiply by.
    @usableFromInline let padding: UInt64 = 0

    @usableFromInline
    init(start: UInt64, size: UInt64, base: UnsafeMutableRawPointer) {
        self.start = start
        self.size = size
        shift = UInt64(UInt(bitPattern: base)) &- start
    }

    /// Whether the `length` bytes at `address` lie in this window; only then may `place` be followed.
    @inlinable
    @inline(__always)
    func contains(_ address: UInt64, _ length: UInt32) -> Bool {
        UInt64(length) <= size && address &- start <= size &- UInt64(length)
    }

    /// Where an address of this window is mapped.
    @inlinable
    @inline(__always)
    func place(_ address: UInt64) -> UnsafeMutableRawPointer {
        // Not null: it points into a mapping. Apart from `contains`, since a test for nil would follow each look-up otherwise.
        unsafe UnsafeMutableRawPointer(bitPattern: UInt(truncatingIfNeeded: address &+ shift)).unsafelyUnwrapped
    }
}

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
    /// The two largest regions, by address: a guest mostly has two, below and above 4 GiB, and these look-ups need no search.
    @usableFromInline let windows: UnsafePointer<MemoryWindow>
    /// Addresses go through an IOTLB, which asks for what it misses.
    @usableFromInline let isTranslated: Bool
    /// The first access that was missed since this was cleared; nil without an IOTLB.
    public var miss: MemoryMiss?
    /// An access that the front-end denied: not missed any more, but a fault. Cleared with the chain it was about.
    public var denied: MemoryMiss?
    /// Another one was denied after it: no access is missed any more.
    public var deniesAll = false

    @usableFromInline
    init(regions: UnsafePointer<MemoryRegion>, count: Int, windows: UnsafePointer<MemoryWindow>, isTranslated: Bool) {
        self.isTranslated = isTranslated
        unsafe self.regions = unsafe regions
        self.count = count
        unsafe self.windows = unsafe windows
    }

    /// The window that `address` lies in, if it lies in one of the two.
    @inlinable
    @inline(__always)
    func window(_ address: UInt64) -> UnsafePointer<MemoryWindow> {
        unsafe windows + (address >= windows[1].start ? 1 : 0)
    }

    /// Where the `length` bytes, at least one, at `address` are mapped, if they lie in one of the two windows.
    @inlinable
    @inline(__always)
    func translateHot(_ address: UInt64, _ length: UInt32) -> UnsafeMutableRawPointer? {
        let window = unsafe window(address)
        return unsafe length != 0 && window.pointee.contains(address, length) ? window.pointee.place(address) : nil
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
