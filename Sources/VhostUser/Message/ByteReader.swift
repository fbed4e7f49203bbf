/// Why a payload could not be read: its length is not the message's.
public struct PayloadError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The number of bytes that came.
    public var byteCount: Int
    /// What was wrong with them.
    public var reason: String

    /// The refusal as a person reads it.
    public var description: String { "a payload of \(byteCount) bytes \(reason)" }
}

/// Reads integers of the machine's byte order from a message, bounds checked.
struct ByteReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: some Collection<UInt8>) {
        self.bytes = Array(bytes)
    }

    var remainingCount: Int { bytes.count - position }

    mutating func read<Integer: FixedWidthInteger & UnsignedInteger>() throws(PayloadError) -> Integer {
        let size = Integer.bitWidth / 8
        guard remainingCount >= size else { throw PayloadError(byteCount: bytes.count, reason: "is too short") }
        var value: Integer = 0
        for index in 0..<size { value |= Integer(bytes[position + index]) << Integer(8 * index) }
        position += size
        // "All numbers are in the machine native byte order": composed as little-endian, then read as this machine reads.
        return Integer(littleEndian: value)
    }

    mutating func skip(_ count: Int) throws(PayloadError) {
        guard remainingCount >= count else { throw PayloadError(byteCount: bytes.count, reason: "is too short") }
        position += count
    }

    mutating func readBytes(_ count: Int) throws(PayloadError) -> [UInt8] {
        let start = position
        try skip(count)
        return Array(bytes[start..<position])
    }

    mutating func readRest() -> [UInt8] {
        defer { position = bytes.count }
        return Array(bytes[position...])
    }

    /// Every byte has to be accounted for.
    func finish() throws(PayloadError) {
        if remainingCount > 0 { throw PayloadError(byteCount: bytes.count, reason: "is \(remainingCount) too long") }
    }
}

extension [UInt8] {
    /// Appends an integer in the machine's byte order.
    mutating func append(integer value: some FixedWidthInteger & UnsignedInteger) {
        var rest = value.littleEndian
        for _ in 0..<value.bitWidth / 8 {
            append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    /// Appends `count` zero bytes.
    mutating func appendZeroes(_ count: Int) {
        append(contentsOf: repeatElement(0, count: count))
    }
}
