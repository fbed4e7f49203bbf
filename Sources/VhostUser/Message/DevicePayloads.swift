/// "Virtio device config space": a part of the config space, read or written.
@frozen
public struct ConfigAccess: Equatable, Sendable {
    /// Largest config space the protocol carries, in bytes.
    public static let sizeMax: UInt32 = 256
    /// `flags` of a SET_CONFIG that brings a migrated device's fields.
    public static let migrationFlag: UInt32 = 1

    /// First byte.
    public var offset: UInt32
    /// Number of bytes.
    public var size: UInt32
    /// 0 for a guest's write to writable fields, `migrationFlag` for a migration.
    public var flags: UInt32
    /// The bytes; a GET_CONFIG carries `size` of them without meaning, or none at all.
    public var bytes: [UInt8]

    /// Gathers the fields.
    public init(offset: UInt32, size: UInt32, flags: UInt32 = 0, bytes: [UInt8]) {
        self.offset = offset
        self.size = size
        self.flags = flags
        self.bytes = bytes
    }
}

/// "Inflight description": the region that tracks requests in flight.
@frozen
public struct InflightDescription: Equatable, Sendable {
    /// Bytes of the region, all queues together.
    public var size: UInt64
    /// Where the region begins in the descriptor.
    public var offset: UInt64
    /// Number of queues it has room for.
    public var queueCount: UInt16
    /// Descriptors of each queue.
    public var queueSize: UInt16
    /// Length of the encoded form: 24 bytes as a C struct has it (QEMU), 20 without the padding (front-ends in Rust). An answer has the
    /// length the request had.
    public var encodedByteCount: Int

    /// Gathers the fields.
    public init(size: UInt64, offset: UInt64, queueCount: UInt16, queueSize: UInt16, encodedByteCount: Int = 24) {
        self.size = size
        self.offset = offset
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.encodedByteCount = encodedByteCount
    }
}

/// "Device state transfer parameters", of SET_DEVICE_STATE_FD.
@frozen
public struct DeviceStateTransfer: Equatable, Sendable {
    /// 0: the back-end writes its state. 1: it reads it.
    public var direction: UInt32
    /// 0: the device is suspended; there is no other phase yet.
    public var phase: UInt32

    /// Gathers the fields.
    public init(direction: UInt32, phase: UInt32) {
        self.direction = direction
        self.phase = phase
    }
}

/// The answer of GET_SHMEM_CONFIG: the sizes of the device's shared memory regions, by their number.
@frozen
public struct SharedMemoryConfig: Equatable, Sendable {
    /// The sizes array has this many entries on the wire, used or not.
    public static let regionCountMax = 256

    /// Number of regions that exist.
    public var regionCount: UInt32
    /// Bytes of each region, `regionCountMax` of them.
    public var sizes: [UInt64]

    /// Describes the given regions; at most `regionCountMax`.
    public init(sizes: [UInt64]) {
        precondition(sizes.count <= Self.regionCountMax, "a device has at most 256 shared memory regions")
        regionCount = UInt32(sizes.count { $0 > 0 })
        self.sizes = sizes + repeatElement(0, count: Self.regionCountMax - sizes.count)
    }
}
