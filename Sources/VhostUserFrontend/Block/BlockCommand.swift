/// The type of a virtio-blk request (virtio 1.3, 5.2.6); any other number can be made too, to see what a device says.
@frozen
public struct BlockCommand: RawRepresentable, Sendable, Hashable {
    /// The number in the request header.
    public var rawValue: UInt32

    /// Takes a number as it is.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// VIRTIO_BLK_T_IN.
    @inlinable public static var read: BlockCommand { BlockCommand(rawValue: 0) }
    /// VIRTIO_BLK_T_OUT.
    @inlinable public static var write: BlockCommand { BlockCommand(rawValue: 1) }
    /// VIRTIO_BLK_T_FLUSH.
    @inlinable public static var flush: BlockCommand { BlockCommand(rawValue: 4) }
    /// VIRTIO_BLK_T_GET_ID.
    @inlinable public static var getID: BlockCommand { BlockCommand(rawValue: 8) }
    /// VIRTIO_BLK_T_GET_LIFETIME.
    @inlinable public static var getLifetime: BlockCommand { BlockCommand(rawValue: 10) }
    /// VIRTIO_BLK_T_DISCARD.
    @inlinable public static var discard: BlockCommand { BlockCommand(rawValue: 11) }
    /// VIRTIO_BLK_T_WRITE_ZEROES.
    @inlinable public static var writeZeroes: BlockCommand { BlockCommand(rawValue: 13) }
    /// VIRTIO_BLK_T_SECURE_ERASE.
    @inlinable public static var secureErase: BlockCommand { BlockCommand(rawValue: 14) }
}

/// The byte a device ends a request with (virtio 1.3, 5.2.6).
@frozen
public struct BlockStatus: RawRepresentable, Sendable, Hashable, CustomStringConvertible {
    /// The byte.
    public var rawValue: UInt8

    /// Takes a byte as it is.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// VIRTIO_BLK_S_OK.
    @inlinable public static var ok: BlockStatus { BlockStatus(rawValue: 0) }
    /// VIRTIO_BLK_S_IOERR.
    @inlinable public static var ioError: BlockStatus { BlockStatus(rawValue: 1) }
    /// VIRTIO_BLK_S_UNSUPP.
    @inlinable public static var unsupported: BlockStatus { BlockStatus(rawValue: 2) }
    /// What the driver puts there before the request: a device that left it did not answer.
    @inlinable public static var notWritten: BlockStatus { BlockStatus(rawValue: 0xff) }

    /// The specification's name.
    public var description: String {
        switch rawValue {
        case 0: "OK"
        case 1: "IOERR"
        case 2: "UNSUPP"
        case 0xff: "no status written"
        default: "status \(rawValue)"
        }
    }
}

/// One range of a discard, write-zeroes or secure-erase request: struct virtio_blk_discard_write_zeroes.
public struct SectorRange: Sendable, Equatable {
    /// The flag of write zeroes that lets the device deallocate.
    public static let unmap: UInt32 = 1
    /// Bytes of one range in a request.
    public static let byteCount = 16

    /// First sector of 512 bytes.
    public var sector: UInt64
    /// Number of sectors.
    public var sectorCount: UInt32
    /// 0 or `unmap`; other bits are reserved.
    public var flags: UInt32

    /// A range in sectors.
    public init(sector: UInt64, sectorCount: UInt32, flags: UInt32 = 0) {
        self.sector = sector
        self.sectorCount = sectorCount
        self.flags = flags
    }
}

/// A request that came back.
@frozen
public struct BlockCompletion: Sendable, Equatable {
    /// The slot it was submitted in.
    public var slot: Int
    /// How it ended.
    public var status: BlockStatus
    /// Bytes the device says it wrote, the status byte included.
    public var length: UInt32

    /// An empty completion to poll into.
    @inlinable
    public init(slot: Int = 0, status: BlockStatus = .notWritten, length: UInt32 = 0) {
        self.slot = slot
        self.status = status
        self.length = length
    }
}
