public import Synchronization

/// Every access of the driver to memory that the device reads or writes at the same time.
///
/// The words are naturally aligned inside the ring areas, whose alignment `DriverRingArea` guarantees, so that binding them to `Atomic` is
/// sound; the device is another process, which no language rule but an atomic access covers. On x86-64 all but the fence are plain moves.
@usableFromInline
enum RingWord {
    @inlinable
    @inline(__always)
    static func load8(_ pointer: UnsafeMutableRawPointer) -> UInt8 {
        unsafe pointer.assumingMemoryBound(to: Atomic<UInt8>.self).pointee.load(ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    static func load16(_ pointer: UnsafeMutableRawPointer) -> UInt16 {
        unsafe UInt16(littleEndian: pointer.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.load(ordering: .relaxed))
    }

    @inlinable
    @inline(__always)
    static func load32(_ pointer: UnsafeMutableRawPointer) -> UInt32 {
        unsafe UInt32(littleEndian: pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.load(ordering: .relaxed))
    }

    /// Acquire: what the device stored before it published this word (used elements, data, status) is visible after it.
    @inlinable
    @inline(__always)
    static func loadAcquire16(_ pointer: UnsafeMutableRawPointer) -> UInt16 {
        unsafe UInt16(littleEndian: pointer.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.load(ordering: .acquiring))
    }

    @inlinable
    @inline(__always)
    static func store16(_ pointer: UnsafeMutableRawPointer, _ value: UInt16) {
        unsafe pointer.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.store(value.littleEndian, ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    static func store32(_ pointer: UnsafeMutableRawPointer, _ value: UInt32) {
        unsafe pointer.assumingMemoryBound(to: Atomic<UInt32>.self).pointee.store(value.littleEndian, ordering: .relaxed)
    }

    @inlinable
    @inline(__always)
    static func store64(_ pointer: UnsafeMutableRawPointer, _ value: UInt64) {
        unsafe pointer.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.store(value.littleEndian, ordering: .relaxed)
    }

    /// Release: descriptors, headers and data stored before it are visible to a device that sees this word.
    @inlinable
    @inline(__always)
    static func storeRelease16(_ pointer: UnsafeMutableRawPointer, _ value: UInt16) {
        unsafe pointer.assumingMemoryBound(to: Atomic<UInt16>.self).pointee.store(value.littleEndian, ordering: .releasing)
    }

    /// Orders an earlier store (index published, event armed) before a later load (event wanted, index of the other side). Both sides do this,
    /// so at least one of them sees the other: virtio 1.3, 2.7.10 and 2.8.12.
    @inlinable
    @inline(__always)
    static func fence() {
        atomicMemoryFence(ordering: .sequentiallyConsistent)
    }
}

/// The comparison that decides about a notification when VIRTIO_F_EVENT_IDX is negotiated.
@usableFromInline
enum EventIndex {
    /// True when `event` lies in the entries that went from `old` to `new`, counted modulo 2^16 (virtio 1.3, 2.7.7.2 and 2.7.10).
    @inlinable
    @inline(__always)
    static func isReached(event: UInt16, new: UInt16, old: UInt16) -> Bool {
        new &- event &- 1 < new &- old
    }
}
