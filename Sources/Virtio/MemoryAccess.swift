/// What a device does with memory, or may do (`perm` of `struct vhost_iotlb_msg`).
@frozen
public struct MemoryAccess: OptionSet, Hashable, Sendable {
    /// The bits as they are on the wire.
    public let rawValue: UInt8

    /// Takes the bits as they are.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The device reads: what a write request carries, headers, descriptors.
    public static let read = MemoryAccess(rawValue: 1)
    /// The device writes: what a read request brings, status bytes.
    public static let write = MemoryAccess(rawValue: 2)
    /// Both.
    public static let readWrite = MemoryAccess(rawValue: 3)
}

/// An access that the IOTLB has no translation for, or none that permits it.
@frozen
public struct MemoryMiss: Hashable, Sendable {
    /// The I/O virtual address.
    public var address: UInt64
    /// What the device wants to do there.
    public var access: MemoryAccess

    /// Gathers the two.
    @inlinable
    public init(address: UInt64, access: MemoryAccess) {
        self.address = address
        self.access = access
    }

    /// Number of the 4096 bytes that the address lies in: no translation is finer.
    @inlinable public var page: UInt64 { address >> 12 }
}
