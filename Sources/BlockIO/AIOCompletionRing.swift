import Synchronization

/// The completion ring that io_setup maps into the process, which can be read without a system call.
///
/// The layout is that of struct aio_ring (Linux, fs/aio.c): id, nr, head, tail, magic, compatible and incompatible features, header length,
/// 32 bits each; then nr events of 32 bytes. It has been stable since the first kernel with aio; magic and features tell if it ever changes.
///
/// Safety: the kernel keeps the mapping until io_destroy; this struct lives shorter. The kernel alone writes `tail` and the events before
/// it, this thread alone writes `head`.
@safe
struct AIOCompletionRing {
    /// struct io_event.
    struct Event {
        var data: UInt64
        var control: UInt64
        var result: Int64
        var result2: Int64
    }

    private static let magic: UInt32 = 0xa10a_10a1
    private let header: UnsafeMutablePointer<UInt32>
    private let events: UnsafeMutablePointer<Event>
    private let capacity: UInt32

    /// Looks at the ring behind an aio context; nil when it is not what it should be.
    init?(context: UnsafeMutableRawPointer) {
        let header = unsafe context.assumingMemoryBound(to: UInt32.self)
        guard unsafe header[4] == Self.magic, unsafe header[6] == 0, unsafe header[7] >= 32, unsafe header[1] > 0 else { return nil }
        unsafe self.header = header
        unsafe events = (context + Int(header[7])).assumingMemoryBound(to: Event.self)
        capacity = unsafe header[1]
    }

    private var head: UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe UnsafeMutableRawPointer(header + 2).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
    private var tail: UnsafeMutablePointer<Atomic<UInt32>> {
        unsafe UnsafeMutableRawPointer(header + 3).assumingMemoryBound(to: Atomic<UInt32>.self)
    }

    /// Whether no event is there.
    var isEmpty: Bool {
        unsafe head.pointee.load(ordering: .relaxed) == tail.pointee.load(ordering: .relaxed)
    }

    /// Copies up to `count` events to `to`, gives their places back to the kernel, and returns how many there were.
    func take(_ to: UnsafeMutablePointer<Event>, _ count: Int) -> Int {
        var position = unsafe head.pointee.load(ordering: .relaxed)
        // Acquire: the events before the tail are read after it; the kernel writes them before it (smp_wmb in aio_complete).
        let end = unsafe tail.pointee.load(ordering: .acquiring)
        var taken = 0
        while position != end, taken < count {
            unsafe to[taken] = events[Int(position)]
            position = position + 1 == capacity ? 0 : position + 1
            taken += 1
        }
        // Release: the kernel may overwrite the places only after they were copied.
        if taken > 0 { unsafe head.pointee.store(position, ordering: .releasing) }
        return taken
    }
}
