import Testing
import Virtio

@Suite("Block config space and features")
struct BlockConfigTests {
    private func abilities() -> BlockAbilities {
        var abilities = BlockAbilities(byteCount: 0x0102_0304_0506_0800, blockSize: 4096)
        abilities.physicalBlockSize = 16384
        abilities.ioSizeMin = 0x10_0000
        abilities.ioSizeOptimal = 0x4000_0000
        abilities.alignmentOffset = 4096 * 3
        abilities.queueCount = 0x0708
        abilities.segmentsMax = 0x1112_1314
        abilities.segmentSizeMax = 0x2122_2324
        abilities.discard = BlockRangeLimits(sectorsMax: 0x3132_3334, rangesMax: 0x4142_4344, sectorAlignment: 0x5152_5354)
        abilities.writeZeroes = BlockRangeLimits(sectorsMax: 0x6162_6364, rangesMax: 0x7172_7374, sectorAlignment: 1)
        abilities.writeZeroesMayUnmap = true
        abilities.secureErase = BlockRangeLimits(sectorsMax: 0x8182_8384, rangesMax: 0x9192_9394, sectorAlignment: 0xa1a2_a3a4)
        return abilities
    }

    /// offsetof and sizeof of struct virtio_blk_config in linux/virtio_blk.h, and the value that has to be there.
    @Test(
        "fields of struct virtio_blk_config",
        arguments: [
            ("capacity", 0, 8, 0x0102_0304_0506_0000 >> 9), ("size_max", 8, 4, 0x2122_2324), ("seg_max", 12, 4, 0x1112_1314),
            ("geometry", 16, 4, 0),
            ("blk_size", 20, 4, 4096), ("physical_block_exp", 24, 1, 2), ("alignment_offset", 25, 1, 3), ("min_io_size", 26, 2, 0x100),
            ("opt_io_size", 28, 4, 0x4_0000), ("wce", 32, 1, 1), ("unused", 33, 1, 0), ("num_queues", 34, 2, 0x0708),
            ("max_discard_sectors", 36, 4, 0x3132_3334), ("max_discard_seg", 40, 4, 0x4142_4344),
            ("discard_sector_alignment", 44, 4, 0x5152_5354),
            ("max_write_zeroes_sectors", 48, 4, 0x6162_6364), ("max_write_zeroes_seg", 52, 4, 0x7172_7374),
            ("write_zeroes_may_unmap", 56, 1, 1),
            ("unused1", 57, 3, 0), ("max_secure_erase_sectors", 60, 4, 0x8182_8384), ("max_secure_erase_seg", 64, 4, 0x9192_9394),
            ("secure_erase_sector_alignment", 68, 4, 0xa1a2_a3a4), ("zoned", 72, 8, 0), ("zoned, rest", 80, 8, 0), ("zoned, end", 88, 8, 0),
        ] as [(String, Int, Int, UInt64)])
    func fields(name: String, offset: Int, size: Int, value: UInt64) throws {
        let bytes = try #require(BlockConfigSpace(abilities()).read(offset: offset, size: size))
        let found = bytes.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << UInt64(8 * $1.offset) }
        #expect(found == value, "\(name)")
    }

    @Test("limits are never zero, and nothing is shown of what is not offered") func plain() throws {
        var abilities = BlockAbilities(byteCount: 1 << 20)
        abilities.segmentsMax = 0
        let config = BlockConfigSpace(abilities)
        #expect(config.read(offset: 12, size: 4) == [1, 0, 0, 0])
        #expect(config.read(offset: 24, size: 8) == [UInt8](repeating: 0, count: 8))
        #expect(config.read(offset: 36, size: 60) == [UInt8](repeating: 0, count: 60))
        #expect(config.bytes.count == BlockConfigSpace.size)
    }

    @Test("hints that do not fit are capped") func capped() {
        var abilities = BlockAbilities(byteCount: 1 << 20)
        abilities.ioSizeMin = 1 << 30
        abilities.alignmentOffset = 1 << 30
        let config = BlockConfigSpace(abilities)
        #expect(config.read(offset: 25, size: 3) == [255, 255, 255])
    }

    @Test(
        "reads stay inside",
        arguments: [
            (0, 1, true), (0, 60, true), (0, 61, true), (0, 96, true), (0, 97, false), (0, 256, false), (0, 257, false), (95, 1, true),
            (96, 1, false),
            (95, 2, false), (0, 0, false), (-1, 1, false), (256, 1, false), (Int.max, 1, false), (1, Int.max, false),
            (0xffff_ffff, 0xffff_ffff, false),
            (0, -1, false),
        ])
    func reads(offset: Int, size: Int, allowed: Bool) {
        let bytes = BlockConfigSpace(abilities()).read(offset: offset, size: size)
        #expect((bytes != nil) == allowed)
        if allowed { #expect(bytes?.count == size) }
    }

    @Test(
        "writes: the guest may toggle the write cache; a migration may write what is there",
        arguments: [
            // offset, bytes, migration, accepted
            (32, [0], false, true), (32, [1], false, true), (32, [2], false, false), (32, [0, 0], false, false),
            (31, [0, 0], false, false),
            (0, [0], false, false), (33, [0], false, false), (96, [0], false, false), (32, [], false, false), (32, [0], true, true),
            (32, [0, 0, 8, 7], true, true), (31, [0, 0], true, true), (20, [0, 16, 0, 0], true, true), (20, [0, 32, 0, 0], true, false),
            (32, [3], true, false), (0, [], true, false), (95, [0, 0], true, false),
        ] as [(Int, [UInt8], Bool, Bool)])
    func writes(offset: Int, bytes: [UInt8], isMigration: Bool, accepted: Bool) {
        var config = BlockConfigSpace(abilities())
        let before = config
        #expect(config.isWriteback)
        let result = config.write(offset: offset, bytes: bytes, isMigration: isMigration)
        #expect(result == accepted)
        let covers = offset <= 32 && offset + bytes.count > 32
        #expect(config.isWriteback == (accepted && covers ? bytes[32 - offset] == 1 : true))
        var restored = config
        restored.isWriteback = true
        #expect(restored == before)
    }

    @Test(
        "when a completed write may sit in a cache (5.2.6.2)",
        arguments: [
            ([], true, false), (.blockFlush, true, true), (.blockFlush, false, true), ([.blockFlush, .blockConfigWriteback], true, true),
            ([.blockFlush, .blockConfigWriteback], false, false), (.blockConfigWriteback, true, false),
        ] as [(VirtioFeatures, Bool, Bool)])
    func cache(negotiated: VirtioFeatures, isWriteback: Bool, expected: Bool) {
        var config = BlockConfigSpace(abilities())
        config.isWriteback = isWriteback
        #expect(config.allowsVolatileCache(negotiated: negotiated) == expected)
    }

    @Test("features follow from abilities") func features() {
        let always: VirtioFeatures = [.blockSegmentMax, .blockSize, .blockFlush, .blockTopology, .blockConfigWriteback]
        var abilities = BlockAbilities(byteCount: 1 << 20)
        #expect(abilities.features == always)
        abilities = self.abilities()
        #expect(
            abilities.features
                == always.union([.blockSizeMax, .blockMultiQueue, .blockDiscard, .blockWriteZeroes, .blockSecureErase]))
        abilities.isReadOnly = true
        #expect(abilities.features == always.union([.blockSizeMax, .blockMultiQueue, .blockReadOnly]))
        #expect(VirtioFeatures.rings.isSuperset(of: [.version1, .ringPacked, .ringIndirectDescriptors, .ringEventIndex]))
        #expect(!VirtioFeatures.rings.contains(.inOrder))
    }

    @Test(
        "a size that is no whole number of blocks",
        arguments: [
            (0, 512, 0), (511, 512, 0), (512, 512, 1), (4096 + 4095, 4096, 8), (1 << 40, 4096, 1 << 31),
        ] as [(UInt64, UInt32, UInt64)])
    func capacity(bytes: UInt64, blockSize: UInt32, sectors: UInt64) {
        #expect(BlockAbilities(byteCount: bytes, blockSize: blockSize).sectorCount == sectors)
    }
}
