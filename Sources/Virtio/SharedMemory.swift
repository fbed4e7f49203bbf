public import Synchronization

// Everything in this file touches memory that a guest or a front-end writes at the same time. Loads are atomic, so that a value is read
// once and the copy is what gets checked and used; stores are atomic, so that the other side, or the next daemon after a crash, sees each
// of them whole. Relaxed loads and stores compile to plain moves.
//
// Safety: the callers pass addresses inside ring areas, inflight regions or translated guest buffers, with the alignment the width needs.

/// Loads from shared memory.
extension UnsafeMutableRawPointer {
    @inlinable
    @inline(__always)
    func shared8(at offset: Int = 0) -> UInt8 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt8>.self).pointee.load(ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    func shared16(at offset: Int = 0) -> UInt16 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt16>.self).pointee.load(ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    func shared32(at offset: Int = 0) -> UInt32 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    func shared64(at offset: Int = 0) -> UInt64 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(ordering: .relaxed)
    }

    /// With acquire ordering: what the other side wrote before it stored this value is visible after the load.
    @inlinable
    @inline(__always)
    func sharedAcquire16(at offset: Int = 0) -> UInt16 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt16>.self).pointee.load(ordering: .acquiring)
    }

    /// With acquire ordering: what the other side wrote before it stored this value is visible after the load.
    @inlinable
    @inline(__always)
    func sharedAcquire64(at offset: Int = 0) -> UInt64 {
        unsafe (self + offset).assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(ordering: .acquiring)
    }

    /// Eight bytes at any alignment, each read once; little-endian. For the rare misaligned tables and headers.
    @inlinable
    @inline(never)
    func sharedBytes64(at offset: Int = 0) -> UInt64 {
        var value: UInt64 = 0
        for index in 0..<8 {
            value |= UInt64(unsafe shared8(at: offset + index)) << UInt64(8 * index)
        }
        return value
    }
}

/// Watches the stores a ring makes to shared memory, one call after each, in program order.
///
/// In the daemon it is `Unobserved`, which compiles to nothing. A simulator takes an image of the shared memory at each call: that is what
/// a `kill -9` at that instant leaves behind, since the kernel lets the stores made so far, and no later ones, become visible.
public protocol StoreObserver {
    /// An observer in its initial state.
    init()

    /// Called after each store of `size` bytes to `address`.
    mutating func didStore(_ address: UnsafeMutableRawPointer, size: Int)

    /// Whether the ring is to break a rule, to show that a simulator notices. Never, unless the observer says otherwise.
    static func breaks(_ rule: OrderingRule) -> Bool
}

extension StoreObserver {
    /// No rule is broken: inlined, which leaves nothing of the question.
    @inlinable
    @inline(__always)
    public static func breaks(_ rule: OrderingRule) -> Bool { false }
}

/// The observer that sees nothing and costs nothing.
@frozen
public struct Unobserved: StoreObserver {
    /// Makes the observer.
    @inlinable
    @inline(__always)
    public init() {}

    /// Does nothing.
    @inlinable
    @inline(__always)
    public mutating func didStore(_ address: UnsafeMutableRawPointer, size: Int) {}
}

/// Stores to shared memory. They go through the observer so that no store of the ring types escapes it.
extension StoreObserver {
    @inlinable
    @inline(__always)
    mutating func store8(_ value: UInt8, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt8>.self).pointee.store(value, ordering: .relaxed)
        unsafe didStore(address, size: 1)
    }

    @inlinable
    @inline(__always)
    mutating func store16(_ value: UInt16, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.store(value, ordering: .relaxed)
        unsafe didStore(address, size: 2)
    }

    @inlinable
    @inline(__always)
    mutating func store32(_ value: UInt32, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(value, ordering: .relaxed)
        unsafe didStore(address, size: 4)
    }

    @inlinable
    @inline(__always)
    mutating func store64(_ value: UInt64, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(value, ordering: .relaxed)
        unsafe didStore(address, size: 8)
    }

    // The release stores keep every earlier store of this thread before them, for other threads and, because they bind the compiler too,
    // for whoever looks at the memory after a crash.

    @inlinable
    @inline(__always)
    mutating func release8(_ value: UInt8, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt8>.self).pointee.store(value, ordering: .releasing)
        unsafe didStore(address, size: 1)
    }

    @inlinable
    @inline(__always)
    mutating func release16(_ value: UInt16, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.store(value, ordering: .releasing)
        unsafe didStore(address, size: 2)
    }

    @inlinable
    @inline(__always)
    mutating func release32(_ value: UInt32, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(value, ordering: .releasing)
        unsafe didStore(address, size: 4)
    }

    @inlinable
    @inline(__always)
    mutating func release64(_ value: UInt64, _ address: UnsafeMutableRawPointer) {
        unsafe address.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(value, ordering: .releasing)
        unsafe didStore(address, size: 8)
    }
}
