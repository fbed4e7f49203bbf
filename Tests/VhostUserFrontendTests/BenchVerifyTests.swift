import Testing

@testable import vhublk_bench

@Suite struct BlockOrderTests {
    @Test(arguments: [1, 2, 3, 5, 64, 100, 1000, 4097] as [UInt64])
    func randomPassesVisitEachBlockOnce(count: UInt64) {
        var order = BlockOrder(count: count, isRandom: true, seed: 42)
        var passes: [[UInt64]] = []
        for _ in 0..<3 {
            passes.append((0..<count).map { _ in order.next() })
            order.shuffle()
        }
        for pass in passes { #expect(pass.sorted() == Array(0..<count)) }
        if count >= 64 {
            #expect(passes[0] != passes[1] && passes[1] != passes[2])
            #expect(passes[0] != Array(0..<count))
        }
    }

    @Test func sequenceBeginsAgain() {
        var order = BlockOrder(count: 3, isRandom: false, seed: 0)
        #expect((0..<7).map { _ in order.next() } == [0, 1, 2, 0, 1, 2, 0])
    }

    @Test func lowBitsDoNotAlternate() {
        var order = BlockOrder(count: 1 << 16, isRandom: true, seed: 7)
        let bits = (0..<4096).map { _ in order.next() & 1 }
        let changes = zip(bits, bits.dropFirst()).count { $0 != $1 }
        #expect((1700...2400).contains(changes), "\(changes) of 4095 neighbours differ in their lowest bit")
    }
}

@Suite struct BlockLedgerTests {
    @Test func generationsAndFlight() {
        let ledger = BlockLedger(count: 4)
        #expect(ledger.content(2) == .unknown)
        #expect(ledger.firstKnown(from: 0) == nil)
        #expect(ledger.acquire(2))
        #expect(!ledger.acquire(2), "in flight")
        #expect(ledger.nextGeneration(2) == 1)
        ledger.release(2)
        #expect(ledger.content(2) == .pattern(generation: 1))
        #expect(ledger.acquire(2))
        #expect(ledger.nextGeneration(2) == 2)
        ledger.markZeroed(2)
        #expect(ledger.content(2) == .zeroes)
        #expect(ledger.firstKnown(from: 0) == 2)
        #expect(ledger.firstKnown(from: 3) == nil)
        #expect(ledger.knownCount == 1)
    }
}

@Suite struct VerifyPatternTests {
    /// The check value of the catalogue of CRC algorithms, and iSCSI's test vectors (RFC 3720, B.4).
    @Test func crc32c() {
        func sum(_ bytes: [UInt8]) -> UInt32 { unsafe bytes.withUnsafeBytes { unsafe CRC32C.checksum($0) } }
        #expect(sum(Array("123456789".utf8)) == 0xe306_9283)
        #expect(sum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        #expect(sum([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
        #expect(sum(Array(0..<32)) == 0x46dd_794e)
        #expect(sum([]) == 0)
    }

    static let pattern = VerifyPattern(offset: 81920, generation: 3, seed: 9)

    private func block(_ pattern: VerifyPattern = pattern, size: Int = 4096) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        unsafe bytes.withUnsafeMutableBytes { unsafe pattern.fill($0) }
        return bytes
    }

    private func finding(_ bytes: [UInt8]) -> String? {
        unsafe bytes.withUnsafeBytes { unsafe Self.pattern.check($0) }
    }

    @Test func header() {
        let bytes = block()
        #expect(Array(bytes[0..<4]) == Array("vblk".utf8))
        #expect(Array(bytes[8..<24]) == [0, 0x40, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0x10, 0, 0])
        #expect(finding(bytes) == nil)
    }

    @Test func aFlippedBitIsFoundWhereItIs() {
        var bytes = block()
        bytes[1234] ^= 0x10
        let text = finding(bytes)
        #expect(text?.hasPrefix("byte 83154: expected 0x") == true, "\(text ?? "nothing")")
        #expect(text?.contains("1 of 4096 bytes differ") == true, "\(text ?? "nothing")")
    }

    @Test func aTornBlockIsFound() {
        let bytes = block(VerifyPattern(offset: 81920, generation: 2, seed: 9))[..<2048] + block()[2048...]
        #expect(finding(Array(bytes))?.contains("its header says generation 2 of byte 81920") == true)
    }

    @Test func wrongBlocksAreNamed() {
        #expect(
            finding(block(VerifyPattern(offset: 81920, generation: 2, seed: 9)))
                == "byte 81920: expected generation 3, found the older generation 2")
        #expect(
            finding(block(VerifyPattern(offset: 4096, generation: 3, seed: 9)))
                == "byte 81920: expected generation 3, found a block that belongs at byte 4096")
        #expect(finding(block(VerifyPattern(offset: 81920, generation: 3, seed: 8)))?.contains("another run (seed 8)") == true)
        #expect(finding([UInt8](repeating: 0, count: 4096))?.contains("the block is all zeroes") == true)
    }

    @Test func anyGenerationOfThePlaceWillDo() {
        func finding(_ bytes: [UInt8], _ offset: UInt64) -> String? {
            unsafe bytes.withUnsafeBytes { unsafe VerifyPattern.checkAny($0, offset: offset) }
        }
        #expect(finding(block(), 81920) == nil)
        #expect(finding(block(), 0) == "byte 0: found a block that belongs at byte 81920")
        #expect(finding([UInt8](repeating: 0, count: 512), 0) == "byte 0: no header of a verified block")
        var damaged = block()
        damaged[4000] ^= 1
        #expect(finding(damaged, 81920)?.contains("the checksum is wrong") == true)
    }

    @Test func zeroes() {
        func finding(_ bytes: [UInt8]) -> String? { unsafe bytes.withUnsafeBytes { unsafe VerifyPattern.checkZeroes($0, offset: 512) } }
        var bytes = [UInt8](repeating: 0, count: 512)
        #expect(finding(bytes) == nil)
        bytes[3] = 7
        #expect(finding(bytes) == "byte 515: expected zeroes, found 0x07")
    }
}
