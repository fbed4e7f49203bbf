/// The config space of a virtio-blk device, struct virtio_blk_config (virtio 1.3, 5.2.4), little-endian.
///
/// ```
///   0 capacity u64                        32 writeback u8                       56 write_zeroes_may_unmap u8
///   8 size_max u32                        34 num_queues u16                     60 max_secure_erase_sectors u32
///  12 seg_max u32                         36 max_discard_sectors u32            64 max_secure_erase_seg u32
///  16 geometry (legacy, zero)             40 max_discard_seg u32                68 secure_erase_sector_alignment u32
///  20 blk_size u32                        44 discard_sector_alignment u32       72 zoned characteristics (zero)
///  24 physical_block_exp u8               48 max_write_zeroes_sectors u32       96 end
///  25 alignment_offset u8                 52 max_write_zeroes_seg u32
///  26 min_io_size u16, 28 opt_io_size u32
/// ```
/// All fields are there whatever was negotiated; fields of features that are not offered are zero.
public struct BlockConfigSpace: Equatable, Sendable {
    /// Bytes of the structure.
    public static let size = 96
    /// Where the one byte lies that a guest may write.
    public static let writebackOffset = 32

    /// The bytes.
    public private(set) var bytes: [UInt8]

    /// The config space that goes with `abilities`; the write cache is on, as FLUSH promises.
    public init(_ abilities: BlockAbilities) {
        bytes = [UInt8](repeating: 0, count: Self.size)
        let blockSize = max(abilities.blockSize, 512)
        put(abilities.sectorCount, at: 0)
        put(abilities.segmentSizeMax, at: 8)
        // Never zero: a driver would divide by it or hang.
        put(max(abilities.segmentsMax, 1), at: 12)
        put(blockSize, at: 20)
        let perPhysical = max(abilities.physicalBlockSize / blockSize, 1)
        put(UInt8(perPhysical.trailingZeroBitCount), at: 24)
        put(UInt8(clamping: abilities.alignmentOffset / blockSize), at: 25)
        put(UInt16(clamping: abilities.ioSizeMin / blockSize), at: 26)
        put(abilities.ioSizeOptimal / blockSize, at: 28)
        put(1 as UInt8, at: Self.writebackOffset)
        put(abilities.queueCount, at: 34)
        let features = abilities.features
        if features.contains(.blockDiscard) { put(abilities.discard, at: 36) }
        if features.contains(.blockWriteZeroes) {
            put(abilities.writeZeroes.sectorsMax, at: 48)
            put(abilities.writeZeroes.rangesMax, at: 52)
            put(UInt8(abilities.writeZeroesMayUnmap ? 1 : 0), at: 56)
        }
        if features.contains(.blockSecureErase) { put(abilities.secureErase, at: 60) }
    }

    /// Whether the driver sees, or has chosen, a write cache.
    public var isWriteback: Bool {
        get { bytes[Self.writebackOffset] != 0 }
        set { bytes[Self.writebackOffset] = newValue ? 1 : 0 }
    }

    /// Whether a completed write may sit in a volatile cache until FLUSH, given what was negotiated (5.2.6.2). If not, each write is durable
    /// when it completes.
    public func allowsVolatileCache(negotiated: VirtioFeatures) -> Bool {
        guard negotiated.contains(.blockFlush) else { return false }
        return negotiated.contains(.blockConfigWriteback) ? isWriteback : true
    }

    /// The `size` bytes from `offset`; nil if they reach past the structure, or if there are none.
    public func read(offset: Int, size: Int) -> [UInt8]? {
        guard offset >= 0, size > 0, size <= Self.size, offset <= Self.size - size else { return nil }
        return Array(bytes[offset..<offset + size])
    }

    /// Takes a write by the guest, or for a live migration.
    ///
    /// A guest may write the writeback byte only. A migration writes what the other side had: any range, as long as everything but that
    /// byte is the same here. False: refused, nothing changed.
    public mutating func write(offset: Int, bytes new: [UInt8], isMigration: Bool) -> Bool {
        guard let old = read(offset: offset, size: new.count) else { return false }
        if !isMigration, offset != Self.writebackOffset || new.count != 1 { return false }
        let writeback = Self.writebackOffset - offset
        for index in new.indices where index != writeback && new[index] != old[index] { return false }
        if new.indices.contains(writeback) {
            guard new[writeback] <= 1 else { return false }
            bytes[Self.writebackOffset] = new[writeback]
        }
        return true
    }

    private mutating func put(_ limits: BlockRangeLimits, at offset: Int) {
        put(limits.sectorsMax, at: offset)
        put(limits.rangesMax, at: offset + 4)
        put(limits.sectorAlignment, at: offset + 8)
    }

    private mutating func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
        }
    }
}
