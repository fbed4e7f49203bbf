/// The limits of one kind of range command.
@frozen
public struct BlockRangeLimits: Equatable, Sendable {
    /// Largest range in sectors of 512 bytes; 0 means the command is not offered.
    public var sectorsMax: UInt32
    /// Most ranges in one request.
    public var rangesMax: UInt32
    /// The alignment a driver should keep, in sectors of 512 bytes, at least 1.
    public var sectorAlignment: UInt32

    /// Gathers the limits.
    public init(sectorsMax: UInt32, rangesMax: UInt32, sectorAlignment: UInt32) {
        self.sectorsMax = sectorsMax
        self.rangesMax = rangesMax
        self.sectorAlignment = sectorAlignment
    }

    /// The command is not offered.
    public static let none = BlockRangeLimits(sectorsMax: 0, rangesMax: 0, sectorAlignment: 1)

    /// Whether the command is offered.
    @inlinable public var isOffered: Bool { sectorsMax > 0 && rangesMax > 0 }
}

/// What an export's backing can do and what the export allows: from it follow features, config space and checks.
public struct BlockAbilities: Equatable, Sendable {
    /// Size in bytes; what does not fill a logical block at the end is not shown to the guest.
    public var byteCount: UInt64
    /// Logical block size in bytes: a power of two, 512 to 32768.
    public var blockSize: UInt32
    /// Physical block size in bytes: a power of two, at least the logical one.
    public var physicalBlockSize: UInt32
    /// Smallest request that costs no read-modify-write, in bytes; 0 if unknown.
    public var ioSizeMin: UInt32
    /// Best request size in bytes; 0 if unknown.
    public var ioSizeOptimal: UInt32
    /// Bytes from the start of the backing to its first physical block boundary.
    public var alignmentOffset: UInt32
    /// Whether writes are refused.
    public var isReadOnly: Bool
    /// Number of request queues.
    public var queueCount: UInt16
    /// Most data segments in a request. At least 1 is announced, whatever is said here.
    public var segmentsMax: UInt32
    /// Largest segment in bytes; 0 for no limit, which is not announced.
    public var segmentSizeMax: UInt32
    /// Discard.
    public var discard: BlockRangeLimits
    /// Write zeroes.
    public var writeZeroes: BlockRangeLimits
    /// Whether writing zeroes with UNMAP may deallocate.
    public var writeZeroesMayUnmap: Bool
    /// Secure erase.
    public var secureErase: BlockRangeLimits

    /// A plain disk of `byteCount` bytes without range commands.
    public init(byteCount: UInt64, blockSize: UInt32 = 512) {
        self.byteCount = byteCount
        self.blockSize = blockSize
        physicalBlockSize = blockSize
        ioSizeMin = 0
        ioSizeOptimal = 0
        alignmentOffset = 0
        isReadOnly = false
        queueCount = 1
        segmentsMax = 126
        segmentSizeMax = 0
        discard = .none
        writeZeroes = .none
        writeZeroesMayUnmap = false
        secureErase = .none
    }

    /// Size in sectors of 512 bytes, whole logical blocks only.
    public var sectorCount: UInt64 { (byteCount & ~(UInt64(blockSize) - 1)) >> 9 }

    /// The virtio features to offer for it: block device bits only. A read-only device offers nothing that changes data.
    public var features: VirtioFeatures {
        var features: VirtioFeatures = [.blockSegmentMax, .blockSize, .blockFlush, .blockTopology, .blockConfigWriteback]
        if segmentSizeMax > 0 { features.insert(.blockSizeMax) }
        if queueCount > 1 { features.insert(.blockMultiQueue) }
        if isReadOnly {
            features.insert(.blockReadOnly)
        } else {
            if discard.isOffered { features.insert(.blockDiscard) }
            if writeZeroes.isOffered { features.insert(.blockWriteZeroes) }
            if secureErase.isOffered { features.insert(.blockSecureErase) }
        }
        return features
    }
}

extension VirtioFeatures {
    /// What the rings of this back-end can do, to be offered with the block device's own features. IN_ORDER is not among them: requests
    /// complete as the disk finishes them, and holding one back for an earlier one would cost latency.
    public static let rings: VirtioFeatures = [
        .version1, .ringIndirectDescriptors, .ringEventIndex, .ringPacked, .ringReset, .notificationData, .notifyOnEmpty, .anyLayout,
        .logAll, .accessPlatform,
    ]
}
