/// The identity GET_ID answers: up to 20 bytes of text, padded with zeroes, not terminated when it fills them (virtio 1.3, 5.2.6).
@frozen
public struct BlockSerial: Equatable, Sendable {
    /// Number of bytes.
    @inlinable public static var size: Int { 20 }

    @usableFromInline var words: (UInt64, UInt64, UInt64)

    /// Takes the first 20 bytes of the text's UTF-8 form.
    public init(_ text: String) {
        var bytes = [UInt64](repeating: 0, count: 24)
        for (index, byte) in text.utf8.prefix(Self.size).enumerated() { bytes[index] = UInt64(byte) }
        func word(_ first: Int) -> UInt64 {
            (0..<8).reduce(0) { $0 | bytes[first + $1] << UInt64(8 * $1) }
        }
        words = (word(0), word(8), word(16))
    }

    /// The byte at `index`, 0 to 19.
    @inlinable
    public subscript(index: Int) -> UInt8 {
        let word = index < 8 ? words.0 : index < 16 ? words.1 : words.2
        return UInt8(truncatingIfNeeded: word >> UInt64(8 * (index & 7)))
    }

    /// Whether both have the same bytes.
    public static func == (left: BlockSerial, right: BlockSerial) -> Bool { left.words == right.words }
}
