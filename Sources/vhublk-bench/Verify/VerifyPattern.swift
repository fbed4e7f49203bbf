/// The content of a verified block: a header that says where and when it was written, then bytes that follow from that.
///
/// ```
/// 0 magic 4 | 4 crc32c of all that follows 4 | 8 offset on the device 8 | 16 generation 4 | 20 length 4 | 24 seed 8 | 32 words of splitmix64
/// ```
struct VerifyPattern {
    static let magic: UInt32 = 0x6b6c_6276
    static let headerBytes = 32

    /// Where the block lies on the device, in bytes.
    var offset: UInt64
    var generation: UInt32
    var seed: UInt64

    private func words() -> RandomGenerator {
        RandomGenerator(seed: seed ^ offset &* 0x9e37_79b9 ^ UInt64(generation) << 40)
    }

    /// Fills a block.
    func fill(_ block: UnsafeMutableRawBufferPointer) {
        // All stores are inside the block: its size is a multiple of 512 bytes.
        var generator = words()
        for index in Self.headerBytes / 8..<block.count / 8 {
            unsafe block.storeBytes(of: generator.next(), toByteOffset: 8 * index, as: UInt64.self)
        }
        unsafe block.storeBytes(of: offset, toByteOffset: 8, as: UInt64.self)
        unsafe block.storeBytes(of: generation, toByteOffset: 16, as: UInt32.self)
        unsafe block.storeBytes(of: UInt32(block.count), toByteOffset: 20, as: UInt32.self)
        unsafe block.storeBytes(of: seed, toByteOffset: 24, as: UInt64.self)
        let sum = unsafe CRC32C.checksum(UnsafeRawBufferPointer(rebasing: block[8...]))
        unsafe block.storeBytes(of: sum, toByteOffset: 4, as: UInt32.self)
        unsafe block.storeBytes(of: Self.magic, toByteOffset: 0, as: UInt32.self)
    }

    /// Checks a block that must hold this pattern; what is wrong with it otherwise.
    func check(_ block: UnsafeRawBufferPointer) -> String? {
        if let found = unsafe Self.read(block), found.isWhole {
            if found.offset == offset, found.generation == generation, found.seed == seed { return nil }
            return "byte \(offset): expected \(generation.generationText), found \(describe(found))"
        }
        return unsafe difference(block)
    }

    /// Checks a block whose generation is not known: any whole pattern of this place will do.
    static func checkAny(_ block: UnsafeRawBufferPointer, offset: UInt64) -> String? {
        guard let found = unsafe read(block) else { return "byte \(offset): no header of a verified block" }
        guard found.isWhole else { return "byte \(offset): the checksum is wrong (header says \(found.text))" }
        return found.offset == offset ? nil : "byte \(offset): found a block that belongs at byte \(found.offset)"
    }

    /// Checks that a block is all zeroes.
    static func checkZeroes(_ block: UnsafeRawBufferPointer, offset: UInt64) -> String? {
        guard let first = unsafe block.firstIndex(where: { $0 != 0 }) else { return nil }
        let text = unsafe read(block).map { ", \($0.text)" } ?? ""
        return "byte \(offset + UInt64(first)): expected zeroes, found \(hex(unsafe block[first]))\(text)"
    }

    private struct Found {
        var offset: UInt64
        var generation: UInt32
        var seed: UInt64
        var isWhole: Bool
        var text: String { "\(generation.generationText) of byte \(offset)" }
    }

    private static func read(_ block: UnsafeRawBufferPointer) -> Found? {
        guard block.count >= headerBytes, unsafe block.loadUnaligned(as: UInt32.self) == magic else { return nil }
        let sum = unsafe CRC32C.checksum(UnsafeRawBufferPointer(rebasing: block[8...]))
        let storedSum = unsafe block.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        let storedLength = unsafe block.loadUnaligned(fromByteOffset: 20, as: UInt32.self)
        return unsafe Found(
            offset: block.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
            generation: block.loadUnaligned(fromByteOffset: 16, as: UInt32.self),
            seed: block.loadUnaligned(fromByteOffset: 24, as: UInt64.self), isWhole: storedSum == sum && storedLength == UInt32(block.count)
        )
    }

    private func describe(_ found: Found) -> String {
        if found.offset != offset { return "a block that belongs at byte \(found.offset)" }
        if found.seed != seed { return "a block of another run (seed \(found.seed))" }
        return found.generation < generation
            ? "the older \(found.generation.generationText)" : "the newer \(found.generation.generationText)"
    }

    /// Where a damaged block first differs from what it must be, and how much of it does.
    private func difference(_ block: UnsafeRawBufferPointer) -> String {
        let found = unsafe [UInt8](block)
        var wanted = [UInt8](repeating: 0, count: found.count)
        // As long as the block that `fill` is made for.
        unsafe wanted.withUnsafeMutableBytes { buffer in unsafe fill(buffer) }
        let places = found.indices.filter { found[$0] != wanted[$0] }
        guard let first = places.first else { return "byte \(offset): the block changed while it was checked" }
        let text = found.allSatisfy { $0 == 0 } ? "the block is all zeroes" : "found \(hex(found[first]))"
        let header = unsafe Self.read(block).map { ", its header says \($0.text)" } ?? ", it has no header"
        return
            "byte \(offset + UInt64(first)): expected \(hex(wanted[first])) of \(generation.generationText) of the block at \(offset), \(text)"
            + "; \(places.count) of \(found.count) bytes differ\(header)"
    }
}

extension UInt32 {
    fileprivate var generationText: String { "generation \(self)" }
}

private func hex(_ byte: UInt8) -> String { "0x" + (byte < 16 ? "0" : "") + String(byte, radix: 16) }
