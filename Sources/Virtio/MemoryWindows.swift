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

/// The two largest regions, by address: a guest mostly has two, below and above 4 GiB, and these look-ups need no search and note no miss.
///
/// One word, so that it travels in a register. It owns nothing: whoever holds it holds the `GuestMemory` too.
///
/// Safety: every pointer it hands out is checked against a window, hence @safe.
@frozen
@safe
public struct MemoryWindows {
    @usableFromInline let first: UnsafePointer<MemoryWindow>

    @usableFromInline
    init(_ first: UnsafePointer<MemoryWindow>) { unsafe self.first = first }

    /// The window that `address` lies in, if it lies in one of the two.
    @inlinable
    @inline(__always)
    func window(_ address: UInt64) -> UnsafePointer<MemoryWindow> {
        unsafe first + (address >= first[1].start ? 1 : 0)
    }

    /// Where the `length` bytes, at least one, at `address` are mapped, if they lie in one of the two.
    @inlinable
    @inline(__always)
    func translate(_ address: UInt64, _ length: UInt32) -> UnsafeMutableRawPointer? {
        let window = unsafe window(address)
        return unsafe length != 0 && window.pointee.contains(address, length) ? window.pointee.place(address) : nil
    }
}
