/// CRC-32C (Castagnoli), eight bytes at a time with eight tables.
enum CRC32C {
    /// `tables[k][b]`: the effect of byte b with k bytes behind it; flat, so that a look-up is one index.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 != 0 ? value >> 1 ^ 0x82f6_3b78 : value >> 1 }
            tables[byte] = value
        }
        for index in 256..<tables.count {
            let previous = tables[index - 256]
            tables[index] = previous >> 8 ^ tables[Int(previous & 0xff)]
        }
        return tables
    }()

    /// The checksum of a buffer.
    static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        // Both pointers are used inside their bounds: the table has 8 * 256 entries, each index is a byte plus a multiple of 256.
        unsafe tables.withUnsafeBufferPointer { table in
            var crc: UInt32 = ~0
            var offset = 0
            while offset + 8 <= bytes.count {
                let word = unsafe UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(crc)
                crc = 0
                for position in 0..<8 {
                    let byte = Int(truncatingIfNeeded: word >> UInt64(8 * position)) & 0xff
                    crc ^= unsafe table[(7 - position) << 8 | byte]
                }
                offset += 8
            }
            while offset < bytes.count {
                crc = unsafe crc >> 8 ^ table[Int((crc ^ UInt32(bytes[offset])) & 0xff)]
                offset += 1
            }
            return ~crc
        }
    }
}
