public import LinuxSystem

extension DescriptorChain {
    /// Takes a plain chain: an indirect table of a 16-byte readable descriptor, one of either kind and a 1-byte writable one, in order. That is
    /// how every driver in use lays out a request with one piece of data, so nearly every small request. `address` names a table of 48 bytes.
    ///
    /// False: another shape, or not within the two memory windows, or misaligned. Nothing was done; the general walk takes it. This one has
    /// neither loops nor states, which halves the work.
    @inlinable
    @inline(__always)
    mutating func takePlain<Format: DescriptorFormat>(
        _ address: UInt64, _ format: Format.Type, _ memory: inout GuestMemoryView, _ segments: SegmentBuffer
    ) -> Bool {
        var tableCheck = RangeCheck()
        let base = unsafe memory.translate(address, 48, &tableCheck)
        // Misaligned tables are legal, but 64-bit atomic loads want alignment.
        guard tableCheck.isGood, UInt(bitPattern: base) & 7 == 0, segments.capacity >= 3 else { return false }
        let table = unsafe MappedTable(base: base)
        let first = table.load(0)
        let middle = table.load(1)
        let last = table.load(2)
        // `size - 1` has the upper bits set for 0 as for 2^30 and more: no empty buffer, and far from the 2^32 bytes that a chain may have
        // (virtio 1.3, 2.7.5).
        guard Format.isPlain(first.meta, middle.meta, last.meta), (middle.length &- 1) >> 30 == 0 else { return false }
        // Ranges outside the windows show at the end; a pointer that is not good is written down, but not followed.
        var check = RangeCheck()
        unsafe segments.base.initialize(to: IOVector(base: memory.translate(first.address, 16, &check), length: 16))
        unsafe (segments.base + 1).initialize(
            to: IOVector(base: memory.translate(middle.address, middle.length, &check), length: Int(middle.length)))
        unsafe (segments.base + 2).initialize(to: IOVector(base: memory.translate(last.address, 1, &check), length: 1))
        guard check.isGood else { return false }
        isPlain = true
        if Format.flags(middle.meta) & DescriptorFlags.write != 0 {
            readableCount = 1
            writableCount = 2
            readableLength = 16
            writableLength = UInt64(middle.length) &+ 1
        } else {
            readableCount = 2
            writableCount = 1
            readableLength = UInt64(middle.length) &+ 16
            writableLength = 1
        }
        return true
    }
}
