@testable import BlockExport

/// The stream of SET_DEVICE_STATE_FD: the state of this device or of another one, of this version or of another one, whole or cut.
enum DeviceStateTarget {
    private static let own = DeviceState(serial: "db0", byteCount: 1 << 30, blockSize: 512, isWriteback: true)

    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        var reader = InputReader(input)
        let stream = stream(&reader)
        let state: DeviceState
        do throws(DeviceStateError) {
            state = try DeviceState(decoding: stream, for: own)
        } catch {
            try FuzzFailure.require(!error.reason.isEmpty, "a state is refused without words")
            return 0
        }
        // Only the cache mode moves: all else has to be as it is here.
        var expected = own
        expected.isWriteback = state.isWriteback
        try FuzzFailure.require(state == expected, "\(state) is taken for \(own)")
        let again = try? DeviceState(decoding: state.encoded, for: own)
        try FuzzFailure.require(again == state, "\(state) is \(again.map { "\($0)" } ?? "refused") when it moves on")
        return 1
    }

    /// Bytes as they come; or this device's own with a few changed; or records, with a header and a checksum that are mostly right.
    private static func stream(_ reader: inout InputReader) -> [UInt8] {
        let style = reader.byte()
        if style % 8 == 7 { return reader.take(.max / 2) }
        var records: [UInt8] = []
        if style % 8 >= 5 {
            var stream = own.encoded
            for _ in 0..<reader.number(below: 8) { stream[reader.number(below: stream.count)] = reader.byte() }
            return style & 8 == 0 ? stream : sealed(Array(stream.dropLast(8)))
        }
        for _ in 0..<reader.number(below: 8) { records += record(&reader) }
        let version: UInt32 = style & 0x30 == 0x30 ? reader.edge() : 1
        let length: UInt32 = style & 0xc0 == 0xc0 ? reader.edge() : UInt32(records.count)
        let body = Array("VHUBLKST".utf8) + bytes(version) + bytes(length) + records
        return style & 8 == 0 ? sealed(body) : body + bytes(reader.word(as: UInt64.self))
    }

    /// One that the device knows, with the value it has or another; or one that it does not.
    private static func record(_ reader: inout InputReader) -> [UInt8] {
        let choice = reader.byte()
        var value: [UInt8]
        switch choice % 8 {
        case 1: value = Array(own.serial.utf8)
        case 2: value = bytes(own.byteCount)
        case 3: value = bytes(own.blockSize)
        case 4: value = [reader.byte() % 2]
        default: value = reader.take(reader.number(below: 32))
        }
        if choice & 0xe0 == 0xe0 { value = reader.take(reader.number(below: 32)) }
        let tag: UInt16 = (1...4).contains(choice % 8) ? UInt16(choice % 8) : reader.edge()
        let length: UInt16 = choice & 0x18 == 0x18 ? reader.edge() : UInt16(value.count)
        return bytes(tag) + bytes(length) + value
    }

    /// With the checksum that the format asks for: FNV-1a of 64 bits, written a second time, so that a change of it is noticed.
    private static func sealed(_ body: [UInt8]) -> [UInt8] {
        body + bytes(body.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
    }

    private static func bytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> Number(8 * $0)) }
    }
}
