/// One region of "Memory regions description" and "Single memory region description".
@frozen
public struct MemoryRegionDescription: Hashable, Sendable {
    /// Length of an encoded region in bytes.
    public static let byteCount = 32

    /// First guest physical address.
    public var guestAddress: UInt64
    /// Bytes of the region.
    public var size: UInt64
    /// The address of the first byte in the front-end's own address space.
    public var frontendAddress: UInt64
    /// Where the region begins in the descriptor that comes with it.
    public var mapOffset: UInt64

    /// Gathers the fields.
    public init(guestAddress: UInt64, size: UInt64, frontendAddress: UInt64, mapOffset: UInt64) {
        self.guestAddress = guestAddress
        self.size = size
        self.frontendAddress = frontendAddress
        self.mapOffset = mapOffset
    }
}

/// "Log description": the dirty log in the descriptor that comes with SET_LOG_BASE.
@frozen
public struct LogDescription: Equatable, Sendable {
    /// Bytes of the log.
    public var size: UInt64
    /// Where the log begins in the descriptor.
    public var offset: UInt64

    /// Gathers the fields.
    public init(size: UInt64, offset: UInt64) {
        self.size = size
        self.offset = offset
    }
}

/// "An IOTLB message": an entry of the IOMMU's translation, asked for, given or taken back.
@frozen
public struct IOTLBMessage: Equatable, Sendable {
    /// What is told.
    public enum Kind: UInt8, CaseIterable, Sendable {
        case miss = 1
        case update = 2
        case invalidate = 3
        case accessFail = 4
    }

    /// First I/O virtual address.
    public var iova: UInt64
    /// Bytes of the range.
    public var size: UInt64
    /// The address in the front-end's address space that `iova` stands for.
    public var frontendAddress: UInt64
    /// Bit 0: reading is allowed; bit 1: writing is.
    public var permissions: UInt8
    /// The message's type as it came; see `Kind`.
    public var type: UInt8

    /// Gathers the fields.
    public init(iova: UInt64, size: UInt64, frontendAddress: UInt64, permissions: UInt8, kind: Kind) {
        self.init(iova: iova, size: size, frontendAddress: frontendAddress, permissions: permissions, type: kind.rawValue)
    }

    init(iova: UInt64, size: UInt64, frontendAddress: UInt64, permissions: UInt8, type: UInt8) {
        self.iova = iova
        self.size = size
        self.frontendAddress = frontendAddress
        self.permissions = permissions
        self.type = type
    }

    /// What is told, if the type is one of the specification's.
    public var kind: Kind? { Kind(rawValue: type) }
}

/// The mapping a back-end asks the front-end to make or remove in a shared memory region (SHMEM_MAP, SHMEM_UNMAP).
@frozen
public struct SharedMemoryMapping: Equatable, Sendable {
    /// Which shared memory region.
    public var identifier: UInt8
    /// Where the mapping begins in the descriptor.
    public var descriptorOffset: UInt64
    /// Where it begins in the shared memory region.
    public var regionOffset: UInt64
    /// Bytes of the mapping.
    public var size: UInt64
    /// Bit 0: writable.
    public var flags: UInt64

    /// Gathers the fields.
    public init(identifier: UInt8, descriptorOffset: UInt64, regionOffset: UInt64, size: UInt64, flags: UInt64) {
        self.identifier = identifier
        self.descriptorOffset = descriptorOffset
        self.regionOffset = regionOffset
        self.size = size
        self.flags = flags
    }
}
