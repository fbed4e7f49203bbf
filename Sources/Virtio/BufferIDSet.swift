/// The buffer ids of a packed ring that are in flight.
///
/// Drivers choose ids as they like, all 65536 of them, but those in use stay below the queue size: for these there is a table with a byte
/// each, for the others one with a bit each.
///
/// Safety: the tables lie in the ring's scratch block; every index is below their length.
@frozen
@safe
@usableFromInline
struct BufferIDSet {
    @usableFromInline let bytes: UnsafeMutablePointer<UInt8>
    @usableFromInline let words: UnsafeMutablePointer<UInt64>
    @usableFromInline let byteCount: UInt32

    private static var wordCount: Int { 65536 / 64 }

    /// Bytes of scratch memory for a ring of that size.
    static func scratchBytes(queueSize: Int) -> Int {
        8 * wordCount + (queueSize + 7) & ~7
    }

    /// An empty set in 8-byte aligned scratch memory.
    init(_ scratch: UnsafeMutableRawPointer, queueSize: Int) {
        unsafe words = scratch.bindMemory(to: UInt64.self, capacity: Self.wordCount)
        unsafe bytes = (scratch + 8 * Self.wordCount).bindMemory(to: UInt8.self, capacity: queueSize)
        byteCount = UInt32(queueSize)
        unsafe words.update(repeating: 0, count: Self.wordCount)
        unsafe bytes.update(repeating: 0, count: queueSize)
    }

    /// Adds an id; false if it was there.
    @inlinable
    @inline(__always)
    func insert(_ id: UInt16) -> Bool {
        guard UInt32(id) < byteCount else { return insertLarge(id) }
        if unsafe bytes[Int(id)] != 0 { return false }
        unsafe bytes[Int(id)] = 1
        return true
    }

    /// Takes an id out.
    @inlinable
    @inline(__always)
    func remove(_ id: UInt16) {
        guard UInt32(id) < byteCount else { return removeLarge(id) }
        unsafe bytes[Int(id)] = 0
    }

    @inlinable
    @inline(never)
    func insertLarge(_ id: UInt16) -> Bool {
        let bit: UInt64 = 1 << UInt64(id & 63)
        if unsafe words[Int(id >> 6)] & bit != 0 { return false }
        unsafe words[Int(id >> 6)] |= bit
        return true
    }

    @inlinable
    @inline(never)
    func removeLarge(_ id: UInt16) {
        unsafe words[Int(id >> 6)] &= ~(1 << UInt64(id & 63))
    }
}
