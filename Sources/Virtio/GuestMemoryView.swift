/// A region in the form a look-up wants, in a table of its own.
///
/// Safety: the base is only used with an offset below the size.
@frozen
@safe
@usableFromInline
struct MemoryWindow {
    @usableFromInline var start: UInt64
    @usableFromInline var size: UInt64
    @usableFromInline var base: UnsafeMutableRawPointer
    // Makes it 32 bytes, which a shift can multiply by.
    @usableFromInline var padding: UInt64 = 0

    @usableFromInline
    init(start: UInt64, size: UInt64, base: UnsafeMutableRawPointer) {
        self.start = start
        self.size = size
        unsafe self.base = unsafe base
    }
}

/// Collects the outcome of several look-ups, so that one test decides all of them.
@frozen
@usableFromInline
struct RangeCheck {
    @usableFromInline var bits: UInt64 = 0

    @inlinable
    @inline(__always)
    init() {}

    /// Whether all ranges so far were inside their regions.
    @inlinable
    @inline(__always)
    var isGood: Bool { bits >> 62 == 0 }
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

    @usableFromInline
    init(regions: UnsafePointer<MemoryRegion>, count: Int, windows: UnsafePointer<MemoryWindow>) {
        unsafe self.regions = unsafe regions
        self.count = count
        unsafe self.windows = unsafe windows
    }

    /// Where `address` is mapped if the `length` bytes there lie in one of the two windows; `check` is good afterwards only if they do, and
    /// only then may the pointer be used. Length 0 passes anywhere inside.
    @inlinable
    @inline(__always)
    func translate(_ address: UInt64, _ length: UInt32, _ check: inout RangeCheck) -> UnsafeMutableRawPointer {
        let window = unsafe windows + (address >= windows[1].start ? 1 : 0)
        // Sizes are below 2^62. An address below the start, or far above the end, makes an offset of 2^62 or more; an end past the region
        // makes `room` negative, and it cannot wrap while the offset is below 2^62. Both show in the two highest bits.
        let offset = unsafe address &- window.pointee.start
        let room = unsafe window.pointee.size &- UInt64(length) &- offset
        check.bits |= offset | room
        return unsafe window.pointee.base + Int(truncatingIfNeeded: offset)
    }

    /// Where the `length` bytes, at least one, at `address` are mapped, if they lie in one of the two windows.
    @inlinable
    @inline(__always)
    func translateHot(_ address: UInt64, _ length: UInt32) -> UnsafeMutableRawPointer? {
        var check = RangeCheck()
        let place = unsafe translate(address, length, &check)
        return unsafe check.isGood && length != 0 ? place : nil
    }

    /// Where the `length` bytes at guest physical `address` are mapped, if they lie wholly inside one region.
    @inlinable
    public mutating func translate(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawPointer? {
        let piece = unsafe prefix(address, max(length, 1))
        return UInt64(piece.count) >= length ? piece.baseAddress : nil
    }

    /// The mapped bytes at guest physical `address` up to the end of its region, at most `length` of them; a count of 0 means unmapped.
    ///
    /// For buffers that span adjacent regions: go on at `address + count`.
    @inlinable
    @inline(never)
    public mutating func prefix(_ address: UInt64, _ length: UInt64) -> UnsafeMutableRawBufferPointer {
        // The regions are sorted and disjoint: the candidate is the last one that begins at or below the address.
        var low = 0
        var high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if unsafe regions[middle].guestAddress <= address { low = middle &+ 1 } else { high = middle }
        }
        guard low > 0 else { return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        let region = unsafe regions[low &- 1]
        let offset = address &- region.guestAddress
        guard offset < region.size else { return unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0) }
        let size = min(length, region.size &- offset)
        return unsafe UnsafeMutableRawBufferPointer(
            start: region.hostBase + Int(truncatingIfNeeded: offset), count: Int(truncatingIfNeeded: size))
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
