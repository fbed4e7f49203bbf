/// Reads decisions from a fuzzer's input, front to back. Past the end everything is 0, so that every input means something and a longer one
/// only adds to it.
struct InputReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var isAtEnd: Bool { position >= bytes.count }

    mutating func byte() -> UInt8 {
        guard position < bytes.count else { return 0 }
        defer { position += 1 }
        return bytes[position]
    }

    /// A number from 0 to `limit - 1`; `limit` is 1 to 65536.
    mutating func number(below limit: Int) -> Int {
        limit <= 256 ? Int(byte()) % limit : Int(word(as: UInt16.self)) % limit
    }

    /// True once in `rate` values of a byte: bytes of 0, which follow the end of the input, are false.
    mutating func chance(in rate: Int) -> Bool { Int(byte()) % rate == rate - 1 }

    /// Little-endian, as many bytes as the type has.
    mutating func word<Word: FixedWidthInteger & UnsignedInteger>(as type: Word.Type = Word.self) -> Word {
        var value: Word = 0
        for index in 0..<Word.bitWidth / 8 { value |= Word(byte()) << Word(8 * index) }
        return value
    }

    /// A value where mistakes live: at the ends of the type, around powers of two, or any.
    mutating func edge<Word: FixedWidthInteger & UnsignedInteger>(as type: Word.Type = Word.self) -> Word {
        let choice = Int(byte())
        let power: Word = 1 << Word(choice / 8 % Word.bitWidth)
        return switch choice % 8 {
        case 0: 0
        case 1: .max
        case 2: power
        case 3: power &- 1
        case 4: 0 &- power
        case 5: Word(truncatingIfNeeded: choice / 8)
        case 6: .max - Word(truncatingIfNeeded: choice / 8)
        default: word()
        }
    }

    /// Up to `count` bytes.
    mutating func take(_ count: Int) -> [UInt8] {
        let end = min(position + count, bytes.count)
        defer { position = end }
        return Array(bytes[position..<end])
    }

    /// An element of a table.
    mutating func pick<Element>(_ table: [Element]) -> Element { table[number(below: table.count)] }
}
