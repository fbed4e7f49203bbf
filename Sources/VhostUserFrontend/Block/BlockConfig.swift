public import Virtio

/// struct virtio_blk_config as a driver reads it (virtio 1.3, 5.2.4). Fields that the back-end did not show are nil.
public struct BlockConfig: Sendable, Equatable {
    /// Lengths of the config space that specifications have had: with secure erase, with write zeroes, with queues, with topology.
    public static let knownSizes = [72, 60, 36, 32]
    /// Where `writeback` lies, for SET_CONFIG.
    public static let writebackOffset = 32

    /// The bytes as they came.
    public let bytes: [UInt8]

    /// Reads a config space, whole or a prefix.
    public init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Capacity in sectors of 512 bytes.
    public var capacity: UInt64 { field(0, UInt64.self) ?? 0 }
    /// Capacity in bytes.
    public var byteCount: UInt64 { capacity.multipliedReportingOverflow(by: 512).partialValue }
    /// Most bytes of a segment (SIZE_MAX).
    public var sizeMax: UInt32? { field(8) }
    /// Most segments of a request (SEG_MAX).
    public var segmentMax: UInt32? { field(12) }
    /// Logical block size in bytes (BLK_SIZE).
    public var blockSize: UInt32? { field(20) }
    /// Logical blocks in a physical one, as a power of two (TOPOLOGY).
    public var physicalBlockExponent: UInt8? { field(24) }
    /// First aligned logical block (TOPOLOGY).
    public var alignmentOffset: UInt8? { field(25) }
    /// Suggested smallest I/O in logical blocks (TOPOLOGY).
    public var minimumIOSize: UInt16? { field(26) }
    /// Suggested largest I/O in logical blocks (TOPOLOGY).
    public var optimalIOSize: UInt32? { field(28) }
    /// 1: writes may sit in a cache until a flush (CONFIG_WCE).
    public var writeback: UInt8? { field(32) }
    /// Number of request queues (MQ).
    public var queueCount: UInt16? { field(34) }
    /// Most sectors of a discard range (DISCARD).
    public var discardSectorsMax: UInt32? { field(36) }
    /// Most ranges of a discard (DISCARD).
    public var discardSegmentsMax: UInt32? { field(40) }
    /// Alignment of a discard in sectors (DISCARD).
    public var discardAlignment: UInt32? { field(44) }
    /// Most sectors of a write-zeroes range (WRITE_ZEROES).
    public var writeZeroesSectorsMax: UInt32? { field(48) }
    /// Most ranges of a write-zeroes request (WRITE_ZEROES).
    public var writeZeroesSegmentsMax: UInt32? { field(52) }
    /// 1: the unmap flag may deallocate (WRITE_ZEROES).
    public var writeZeroesMayUnmap: UInt8? { field(56) }
    /// Most sectors of a secure-erase range (SECURE_ERASE).
    public var secureEraseSectorsMax: UInt32? { field(60) }
    /// Most ranges of a secure erase (SECURE_ERASE).
    public var secureEraseSegmentsMax: UInt32? { field(64) }
    /// Alignment of a secure erase in sectors (SECURE_ERASE).
    public var secureEraseAlignment: UInt32? { field(68) }

    /// Every field that `features` makes meaningful and that is there, in the order of the struct.
    public func fields(_ features: VirtioFeatures) -> [(name: String, value: UInt64)] {
        let all: [(VirtioFeatures, String, UInt64?)] = [
            ([], "capacity", capacity), (.blockSizeMax, "size_max", sizeMax.map(UInt64.init)),
            (.blockSegmentMax, "seg_max", segmentMax.map(UInt64.init)), (.blockSize, "blk_size", blockSize.map(UInt64.init)),
            (.blockTopology, "physical_block_exp", physicalBlockExponent.map(UInt64.init)),
            (.blockTopology, "alignment_offset", alignmentOffset.map(UInt64.init)),
            (.blockTopology, "min_io_size", minimumIOSize.map(UInt64.init)),
            (.blockTopology, "opt_io_size", optimalIOSize.map(UInt64.init)),
            (.blockConfigWriteback, "writeback", writeback.map(UInt64.init)),
            (.blockMultiQueue, "num_queues", queueCount.map(UInt64.init)),
            (.blockDiscard, "max_discard_sectors", discardSectorsMax.map(UInt64.init)),
            (.blockDiscard, "max_discard_seg", discardSegmentsMax.map(UInt64.init)),
            (.blockDiscard, "discard_sector_alignment", discardAlignment.map(UInt64.init)),
            (.blockWriteZeroes, "max_write_zeroes_sectors", writeZeroesSectorsMax.map(UInt64.init)),
            (.blockWriteZeroes, "max_write_zeroes_seg", writeZeroesSegmentsMax.map(UInt64.init)),
            (.blockWriteZeroes, "write_zeroes_may_unmap", writeZeroesMayUnmap.map(UInt64.init)),
            (.blockSecureErase, "max_secure_erase_sectors", secureEraseSectorsMax.map(UInt64.init)),
            (.blockSecureErase, "max_secure_erase_seg", secureEraseSegmentsMax.map(UInt64.init)),
            (.blockSecureErase, "secure_erase_sector_alignment", secureEraseAlignment.map(UInt64.init)),
        ]
        return all.compactMap { gate, name, value in
            value.flatMap { features.isSuperset(of: gate) ? (name, $0) : nil }
        }
    }

    private func field<Word: FixedWidthInteger>(_ offset: Int, _: Word.Type = Word.self) -> Word? {
        let size = MemoryLayout<Word>.size
        guard offset + size <= bytes.count else { return nil }
        // Little-endian, as all of a version 1 device's config space (virtio 1.3, 5.2.4).
        return bytes[offset..<offset + size].reversed().reduce(0) { $0 << 8 | Word($1) }
    }
}
