/// What the driver remembers of each ring entry, in memory that the device does not see: a device can lie about a used id, but not make the
/// driver follow a link that it wrote.
@usableFromInline
@safe
final class RingBookkeeping: @unchecked Sendable {
    /// One entry: of a head descriptor (split) or of a buffer id (packed).
    @frozen
    @usableFromInline
    struct Entry {
        /// What `add` was told.
        @usableFromInline var token: UInt32
        /// The next free entry, or the next descriptor of the chain.
        @usableFromInline var next: UInt16
        /// Ring entries that the buffer occupies; 0 when it is not in flight.
        @usableFromInline var count: UInt16

        @usableFromInline
        init(next: UInt16) {
            token = 0
            self.next = next
            count = 0
        }
    }

    let entries: UnsafeMutablePointer<Entry>
    private let size: Int

    /// A list of `size` free entries in ascending order.
    init(size: Int) {
        self.size = size
        // Given back in deinit; the queues keep this object as long as they use the pointer.
        unsafe entries = .allocate(capacity: size)
        for index in 0..<size {
            unsafe (entries + index).initialize(to: Entry(next: UInt16(truncatingIfNeeded: index + 1)))
        }
    }

    deinit {
        unsafe entries.deallocate()
    }
}
