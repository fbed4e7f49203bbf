/// What to do with a request.
@frozen
public enum BlockVerdict: Equatable, Sendable {
    /// Read `dataLength` bytes at `sector`.
    case read
    /// Write `dataLength` bytes at `sector`.
    case write
    /// Make all completed writes durable.
    case flush
    /// Answer with the serial.
    case getID
    /// Range commands: call `BlockRequestCheck.readRanges`.
    case ranges(BlockRangeCommand)
    /// End the request with this status.
    case refused(BlockStatus)
}

/// The commands that carry a list of ranges.
@frozen
public enum BlockRangeCommand: Equatable, Sendable, CaseIterable {
    /// VIRTIO_BLK_T_DISCARD
    case discard
    /// VIRTIO_BLK_T_WRITE_ZEROES
    case writeZeroes
    /// VIRTIO_BLK_T_SECURE_ERASE
    case secureErase
}

/// One range of a range command, struct virtio_blk_discard_write_zeroes: sector u64, num_sectors u32, flags u32.
@frozen
public struct BlockRange: Equatable, Sendable {
    /// First sector.
    public var sector: UInt64
    /// Number of sectors.
    public var sectorCount: UInt32
    /// Bit 0: unmap (write zeroes only).
    public var flags: UInt32

    /// Describes a range.
    @inlinable
    public init(sector: UInt64, sectorCount: UInt32, flags: UInt32 = 0) {
        self.sector = sector
        self.sectorCount = sectorCount
        self.flags = flags
    }

    /// Whether the zeroed blocks may be deallocated.
    @inlinable public var mayUnmap: Bool { flags & 1 != 0 }

    /// Offset in bytes; ranges that passed the check do not overflow it.
    @inlinable public var byteOffset: UInt64 { sector << 9 }

    /// Length in bytes.
    @inlinable public var byteCount: UInt64 { UInt64(sectorCount) << 9 }
}

/// What a request may do on this export: a request that passes is inside the disk, aligned and allowed.
///
/// A value; a resize or a new negotiation gives the queues a new one between two batches.
@frozen
public struct BlockRequestCheck: Equatable, Sendable {
    /// Size of the disk in sectors.
    public var sectorCount: UInt64
    /// Logical block size in sectors, less one: a mask, since it is a power of two.
    @usableFromInline let blockMask: UInt64
    /// The same for bytes.
    @usableFromInline let lengthMask: UInt64
    /// Whether everything that changes data is refused.
    public var isReadOnly: Bool
    /// Limits by command; not offered or not negotiated: none.
    public let discard: BlockRangeLimits
    /// Limits of write zeroes.
    public let writeZeroes: BlockRangeLimits
    /// Limits of secure erase.
    public let secureErase: BlockRangeLimits
    /// A bit for each range command's request type, set if it is offered.
    @usableFromInline let offeredCommands: UInt32

    /// The rules for a disk; commands that were not negotiated are unknown commands.
    public init(_ abilities: BlockAbilities, negotiated: VirtioFeatures) {
        sectorCount = abilities.sectorCount
        blockMask = UInt64(abilities.blockSize >> 9) - 1
        lengthMask = UInt64(abilities.blockSize) - 1
        isReadOnly = abilities.isReadOnly
        discard = negotiated.contains(.blockDiscard) ? abilities.discard : .none
        writeZeroes = negotiated.contains(.blockWriteZeroes) ? abilities.writeZeroes : .none
        secureErase = negotiated.contains(.blockSecureErase) ? abilities.secureErase : .none
        offeredCommands =
            (discard.isOffered ? 1 << BlockRequestType.discard : 0) | (writeZeroes.isOffered ? 1 << BlockRequestType.writeZeroes : 0)
            | (secureErase.isOffered ? 1 << BlockRequestType.secureErase : 0)
    }

    /// Decides what becomes of a request.
    @inlinable
    @inline(__always)
    public func verdict(_ request: BlockRequest) -> BlockVerdict {
        if request.type == BlockRequestType.read {
            return isInside(request) ? .read : .refused(.ioError)
        }
        if request.type == BlockRequestType.write {
            return !isReadOnly && isInside(request) ? .write : .refused(.ioError)
        }
        return Self.rareVerdict(request.type, offered: offeredCommands, isReadOnly: isReadOnly)
    }

    /// Whether a plain transfer may be done; one that may not ends with `ioError`.
    @inlinable
    @inline(__always)
    public func passes(_ transfer: PlainTransfer) -> Bool {
        if isReadOnly, !transfer.isRead { return false }
        let length = UInt64(transfer.dataLength)
        guard length & lengthMask == 0, transfer.sector & blockMask == 0, transfer.sector < sectorCount else { return false }
        // At least a sector is left, and `- 1` sends a length of 0 to the refusals.
        return (length >> 9) &- 1 < sectorCount &- transfer.sector
    }

    /// Static, with scalars: handing over `self` would make every caller copy all of it.
    @inlinable
    @inline(never)
    static func rareVerdict(_ type: UInt32, offered: UInt32, isReadOnly: Bool) -> BlockVerdict {
        switch type {
        case BlockRequestType.flush: .flush
        case BlockRequestType.getID: .getID
        case 32...: .refused(.unsupported)
        case _ where offered >> type & 1 == 0: .refused(.unsupported)
        case _ where isReadOnly: .refused(.ioError)
        case BlockRequestType.discard: .ranges(.discard)
        case BlockRequestType.writeZeroes: .ranges(.writeZeroes)
        default: .ranges(.secureErase)
        }
    }

    /// Whether a read or write has data, in whole blocks, that lies on the disk.
    @inlinable
    @inline(__always)
    func isInside(_ request: BlockRequest) -> Bool {
        let sectors = request.dataLength >> 9
        // `sectors - 1` sends 0 to the refusals, and no sum is formed that could overflow.
        return request.dataLength & lengthMask == 0 && request.sector & blockMask == 0 && sectors &- 1 < sectorCount
            && request.sector <= sectorCount &- sectors
    }

    /// Copies the ranges of a command to `ranges` and checks all of them, before anything is touched. Returns the status to end with if one
    /// is bad, and their number otherwise. `capacity` is at least the announced number of ranges.
    ///
    /// `ranges` may be the very segments the data is described by (16 bytes each, like a range) only if it does not overlap them.
    public func readRanges(
        _ request: BlockRequest, _ command: BlockRangeCommand, into ranges: UnsafeMutablePointer<BlockRange>, capacity: Int
    ) -> Result<Int, BlockRangeFault> {
        let limits =
            switch command {
            case .discard: discard
            case .writeZeroes: writeZeroes
            case .secureErase: secureErase
            }
        let count = request.dataLength / 16
        guard request.dataLength & 15 == 0, count > 0, count <= UInt64(limits.rangesMax), count <= UInt64(capacity) else {
            return .failure(.ioError)
        }
        var reader = unsafe SegmentReader(segments: request.data)
        // Each byte is read once: the copies are what is checked and what is carried out.
        for index in 0..<Int(count) {
            let sector = reader.readWord()
            let rest = reader.readWord()
            unsafe ranges[index] = BlockRange(
                sector: sector, sectorCount: UInt32(truncatingIfNeeded: rest), flags: UInt32(truncatingIfNeeded: rest >> 32))
        }
        // 5.2.6.2: unknown flags, and UNMAP anywhere but in write zeroes, make the whole request unsupported.
        let known: UInt32 = command == .writeZeroes ? 1 : 0
        for index in 0..<Int(count) {
            if unsafe ranges[index].flags & ~known != 0 { return .failure(.unsupported) }
        }
        for index in 0..<Int(count) {
            let range = unsafe ranges[index]
            let sectors = UInt64(range.sectorCount)
            guard sectors <= UInt64(limits.sectorsMax), sectors & blockMask == 0, range.sector & blockMask == 0, sectors <= sectorCount,
                range.sector <= sectorCount - sectors
            else { return .failure(.ioError) }
        }
        return .success(Int(count))
    }
}

/// Why a range command was refused; the status it ends with.
public enum BlockRangeFault: Error, Equatable, Sendable {
    /// Out of range, misaligned, or too many.
    case ioError
    /// A flag this command does not have.
    case unsupported

    /// The status byte.
    public var status: BlockStatus { self == .ioError ? .ioError : .unsupported }
}
