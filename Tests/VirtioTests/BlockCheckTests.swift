import Testing
import Virtio

@Suite("Block request check")
struct BlockCheckTests {
    /// 8 MiB with 4 KiB blocks: 16384 sectors.
    private func abilities(blockSize: UInt32 = 4096, isReadOnly: Bool = false) -> BlockAbilities {
        var abilities = BlockAbilities(byteCount: 8 << 20, blockSize: blockSize)
        abilities.isReadOnly = isReadOnly
        abilities.discard = BlockRangeLimits(sectorsMax: 4096, rangesMax: 4, sectorAlignment: 8)
        abilities.writeZeroes = BlockRangeLimits(sectorsMax: 8192, rangesMax: 3, sectorAlignment: 8)
        abilities.secureErase = BlockRangeLimits(sectorsMax: 1024, rangesMax: 2, sectorAlignment: 8)
        return abilities
    }

    private static let all: VirtioFeatures = [.blockDiscard, .blockWriteZeroes, .blockSecureErase]

    private func request(_ type: UInt32, sector: UInt64, length: UInt64) throws -> (BlockRequest, TestChain) {
        let chain = try TestChain(readable: [16], writable: [1])
        chain.setHeader(type: type, sector: sector)
        var request = chain.parse().request
        request.dataLength = length
        return (request, chain)
    }

    @Test(
        "range and alignment of reads and writes",
        arguments: [
            // sector, bytes, block size, allowed
            (0, 4096, 4096, true), (0, 8 << 20, 4096, true), (16376, 4096, 4096, true), (16376, 8192, 4096, false),
            (16384, 4096, 4096, false),
            (8, 4096, 4096, true), (4, 4096, 4096, false), (0, 512, 4096, false), (0, 0, 4096, false), (0, 4097, 4096, false),
            (1, 512, 512, true),
            (16383, 512, 512, true), (16384, 512, 512, false), (16383, 1024, 512, false), (0, 511, 512, false),
            (UInt64.max, 512, 512, false),
            (UInt64.max - 7, 4096, 4096, false), (1 << 55, 4096, 4096, false), (UInt64.max >> 9, 512, 512, false),
            (0, (8 << 20) + 4096, 4096, false),
            (0, 1 << 32, 512, false),
        ] as [(UInt64, UInt64, UInt32, Bool)])
    func ranges(sector: UInt64, length: UInt64, blockSize: UInt32, allowed: Bool) throws {
        let check = BlockRequestCheck(abilities(blockSize: blockSize), negotiated: [])
        #expect(check.verdict(try request(0, sector: sector, length: length).0) == (allowed ? .read : .refused(.ioError)))
        #expect(check.verdict(try request(1, sector: sector, length: length).0) == (allowed ? .write : .refused(.ioError)))
    }

    @Test("an empty disk refuses everything") func emptyDisk() throws {
        let check = BlockRequestCheck(BlockAbilities(byteCount: 511), negotiated: [])
        #expect(check.verdict(try request(0, sector: 0, length: 512).0) == .refused(.ioError))
        #expect(check.verdict(try request(0, sector: 0, length: 0).0) == .refused(.ioError))
    }

    @Test(
        "types",
        arguments: [
            // type, negotiated, read-only, verdict
            (4, [], false, BlockVerdict.flush), (4, [], true, .flush), (8, [], true, .getID), (11, .blockDiscard, false, .ranges(.discard)),
            (13, .blockWriteZeroes, false, .ranges(.writeZeroes)), (14, .blockSecureErase, false, .ranges(.secureErase)),
            (11, .blockWriteZeroes, false, .refused(.unsupported)), (13, .blockDiscard, false, .refused(.unsupported)),
            (14, [], false, .refused(.unsupported)), (11, .blockDiscard, true, .refused(.ioError)),
            (13, .blockWriteZeroes, true, .refused(.ioError)),
            (14, .blockSecureErase, true, .refused(.ioError)), (2, [], false, .refused(.unsupported)),
            (10, [], false, .refused(.unsupported)),
            (15, [], false, .refused(.unsupported)), (0x8000_0000, [], false, .refused(.unsupported)),
            (UInt32.max, [], false, .refused(.unsupported)),
        ] as [(UInt32, VirtioFeatures, Bool, BlockVerdict)])
    func types(type: UInt32, negotiated: VirtioFeatures, isReadOnly: Bool, expected: BlockVerdict) throws {
        let check = BlockRequestCheck(abilities(isReadOnly: isReadOnly), negotiated: negotiated)
        // A flush may carry a sector: it means nothing.
        #expect(check.verdict(try request(type, sector: 77, length: 16).0) == expected)
    }

    @Test("a read-only disk reads and does not write") func readOnly() throws {
        let check = BlockRequestCheck(abilities(isReadOnly: true), negotiated: [])
        #expect(check.verdict(try request(0, sector: 0, length: 4096).0) == .read)
        #expect(check.verdict(try request(1, sector: 0, length: 4096).0) == .refused(.ioError))
    }

    @Test(
        "range commands: every range is checked before the first counts",
        arguments: [
            // command, ranges (sector, count, flags), number or refusal
            (.discard, [(0, 8, 0)], .success(1)), (.discard, [(0, 8, 0), (16, 4096, 0), (0, 8, 0), (16376, 8, 0)], .success(4)),
            (.discard, [(8, 0, 0)], .success(1)), (.discard, [], .failure(.ioError)),
            (.discard, [(0, 8, 0), (0, 8, 0), (0, 8, 0), (0, 8, 0), (0, 8, 0)], .failure(.ioError)),
            (.discard, [(0, 4097, 0)], .failure(.ioError)),
            (.discard, [(0, 4104, 0)], .failure(.ioError)), (.discard, [(0, 8, 1)], .failure(.unsupported)),
            (.discard, [(0, 8, 2)], .failure(.unsupported)), (.discard, [(0, 8, 0), (0, 8, 0x8000_0000)], .failure(.unsupported)),
            (.discard, [(4, 8, 0)], .failure(.ioError)), (.discard, [(0, 4, 0)], .failure(.ioError)),
            (.discard, [(16384, 8, 0)], .failure(.ioError)),
            (.discard, [(16380, 8, 0)], .failure(.ioError)), (.discard, [(UInt64.max - 7, 8, 0)], .failure(.ioError)),
            (.discard, [(UInt64.max - 7, 4096, 0)], .failure(.ioError)), (.discard, [(0, UInt32.max, 0)], .failure(.ioError)),
            (.discard, [(0, 8, 0), (20000, 8, 0)], .failure(.ioError)), (.discard, [(20000, 8, 0), (0, 8, 1)], .failure(.unsupported)),
            (.writeZeroes, [(0, 8192, 1), (8192, 8192, 0)], .success(2)), (.writeZeroes, [(0, 8200, 0)], .failure(.ioError)),
            (.writeZeroes, [(0, 8, 3)], .failure(.unsupported)), (.secureErase, [(0, 1024, 0)], .success(1)),
            (.secureErase, [(0, 8, 1)], .failure(.unsupported)), (.secureErase, [(0, 1032, 0)], .failure(.ioError)),
        ] as [(BlockRangeCommand, [(UInt64, UInt32, UInt32)], Result<Int, BlockRangeFault>)])
    func rangeCommands(command: BlockRangeCommand, ranges: [(UInt64, UInt32, UInt32)], expected: Result<Int, BlockRangeFault>) throws {
        let check = BlockRequestCheck(abilities(), negotiated: Self.all)
        // The list in one piece, and cut in the middle of its fields.
        let total = 16 * ranges.count
        for cuts in [[total], [total - 1, 1], [3, total - 3], [7, 6, total - 13]] where cuts.allSatisfy({ $0 > 0 }) || total == 0 {
            let chain = try TestChain(readable: [16] + cuts.filter { $0 > 0 }, writable: [1])
            chain.setHeader(type: 11, sector: 0)
            for (index, range) in ranges.enumerated() {
                chain.setReadable(16 + 16 * index, range.0)
                chain.setReadable(16 + 16 * index + 8, range.1)
                chain.setReadable(16 + 16 * index + 12, range.2)
            }
            let request = chain.parse().request
            let (result, copied) = read(check, request, command)
            #expect(result == expected)
            if case .success = expected {
                #expect(copied == ranges.map { BlockRange(sector: $0.0, sectorCount: $0.1, flags: $0.2) })
            }
        }
    }

    private func read(
        _ check: BlockRequestCheck, _ request: BlockRequest, _ command: BlockRangeCommand, capacity: Int = 8
    ) -> (Result<Int, BlockRangeFault>, [BlockRange]) {
        var copied: [BlockRange] = []
        let place = UnsafeMutablePointer<BlockRange>.allocate(capacity: capacity)
        defer { unsafe place.deallocate() }
        let result = unsafe check.readRanges(request, command, into: place, capacity: capacity)
        if case .success(let count) = result { copied = (0..<count).map { unsafe place[$0] } }
        return (result, copied)
    }

    @Test("a list that is no whole number of ranges, and one the caller has no room for") func rangeShape() throws {
        let check = BlockRequestCheck(abilities(), negotiated: Self.all)
        for size in [1, 15, 17, 24] {
            let chain = try TestChain(readable: [16, size], writable: [1])
            chain.setHeader(type: 11, sector: 0)
            #expect(read(check, chain.parse().request, .discard).0 == .failure(.ioError))
        }
        let chain = try TestChain(readable: [16, 32], writable: [1])
        chain.setHeader(type: 11, sector: 0)
        #expect(read(check, chain.parse().request, .discard, capacity: 1).0 == .failure(.ioError))
        #expect(read(check, chain.parse().request, .discard, capacity: 2).0 == .success(2))
    }

    @Test("a range in bytes") func rangeBytes() {
        let range = BlockRange(sector: 8, sectorCount: 16, flags: 1)
        #expect(range.byteOffset == 4096)
        #expect(range.byteCount == 8192)
        #expect(range.mayUnmap)
        #expect(BlockRangeFault.ioError.status == .ioError)
        #expect(BlockRangeFault.unsupported.status == .unsupported)
    }
}
