internal import BlockIO

/// What an export's device remembers besides its rings and its data, as a stream of bytes that another daemon, newer or older, can read.
///
/// ```
/// magic "VHUBLKST" | version u32 | records u32, bytes | record... | checksum u64, of all before it
/// record: tag u16 | length u16 | bytes
/// ```
/// All numbers are little-endian. A reader leaves out records that it does not know, unless bit 15 of the tag says that it may not; a record
/// that is missing stands for the initial state.
struct DeviceState: Equatable {
    /// Longest stream that is read.
    static let byteCountMax = 65536
    private static let magic = Array("VHUBLKST".utf8)
    /// Readers refuse a stream of a later version: what a record cannot say.
    private static let version: UInt32 = 1
    private static let headerBytes = 16
    private static let mandatoryBit: UInt16 = 1 << 15

    /// Which disk it is about.
    var serial: String
    /// Its capacity in bytes.
    var byteCount: UInt64
    /// Its logical block size in bytes.
    var blockSize: UInt32
    /// The guest's choice of cache mode (CONFIG_WCE).
    var isWriteback: Bool

    private enum Tag {
        static let serial: UInt16 = 1
        static let byteCount: UInt16 = 2
        static let blockSize: UInt16 = 3
        static let isWriteback: UInt16 = 4
    }

    init(serial: String, byteCount: UInt64, blockSize: UInt32, isWriteback: Bool) {
        self.serial = serial
        self.byteCount = byteCount
        self.blockSize = blockSize
        self.isWriteback = isWriteback
    }

    /// The stream.
    var encoded: [UInt8] {
        var records: [UInt8] = []
        func add(_ tag: UInt16, _ bytes: [UInt8]) { records += Self.bytes(tag) + Self.bytes(UInt16(bytes.count)) + bytes }
        add(Tag.serial, Array(serial.utf8))
        add(Tag.byteCount, Self.bytes(byteCount))
        add(Tag.blockSize, Self.bytes(blockSize))
        add(Tag.isWriteback, [isWriteback ? 1 : 0])
        let body = Self.magic + Self.bytes(Self.version) + Self.bytes(UInt32(records.count)) + records
        return body + Self.bytes(Self.checksum(body))
    }

    /// Reads a stream for the disk that `own` is the state of.
    init(decoding stream: [UInt8], for own: DeviceState) throws(DeviceStateError) {
        self = own
        isWriteback = true
        for (tag, bytes) in try Self.records(of: stream) {
            switch tag {
            case Tag.serial:
                let other = String(decoding: bytes, as: UTF8.self)
                guard other == own.serial else {
                    throw DeviceStateError("it is of the disk with serial '\(other)', this one's is '\(own.serial)'")
                }
            case Tag.byteCount:
                let other: UInt64 = try Self.number(bytes, "capacity")
                guard other == own.byteCount else {
                    throw DeviceStateError("it is of a disk of \(other) bytes, this one has \(own.byteCount)")
                }
            case Tag.blockSize:
                let other: UInt32 = try Self.number(bytes, "block size")
                guard other == own.blockSize else {
                    throw DeviceStateError("it is of a disk with blocks of \(other) bytes, this one's have \(own.blockSize)")
                }
            case Tag.isWriteback:
                let value: UInt8 = try Self.number(bytes, "cache mode")
                guard value <= 1 else { throw DeviceStateError("its cache mode is \(value), neither 0 nor 1") }
                isWriteback = value == 1
            default:
                guard tag & Self.mandatoryBit == 0 else {
                    throw DeviceStateError("it has a record \(tag) that must be understood; a newer vhublkd does")
                }
            }
        }
    }

    private static func records(of stream: [UInt8]) throws(DeviceStateError) -> [(tag: UInt16, bytes: [UInt8])] {
        guard !stream.isEmpty else { throw DeviceStateError("it is empty") }
        guard stream.count >= headerBytes + 8 else { throw DeviceStateError("it ends after \(stream.count) bytes, within its header") }
        guard Array(stream[0..<8]) == magic else { throw DeviceStateError("it is not a device state of vhublk") }
        let version: UInt32 = value(stream, 8)
        guard version == Self.version else {
            throw DeviceStateError("it has version \(version), this vhublkd reads version \(Self.version)")
        }
        let length = Int(value(stream, 12) as UInt32)
        guard stream.count == headerBytes + length + 8 else {
            throw DeviceStateError("it has \(stream.count) bytes, its header says \(headerBytes + length + 8)")
        }
        let end = headerBytes + length
        guard value(stream, end) == checksum(Array(stream[..<end])) else { throw DeviceStateError("its checksum is wrong") }
        var records: [(tag: UInt16, bytes: [UInt8])] = []
        var position = headerBytes
        while position < end {
            guard end - position >= 4 else { throw DeviceStateError("a record ends within its header") }
            let size = Int(value(stream, position + 2) as UInt16)
            guard end - position - 4 >= size else { throw DeviceStateError("a record of \(size) bytes ends past its stream") }
            records.append((value(stream, position), Array(stream[position + 4..<position + 4 + size])))
            position += 4 + size
        }
        return records
    }

    private static func number<Number: FixedWidthInteger>(_ bytes: [UInt8], _ name: String) throws(DeviceStateError) -> Number {
        guard bytes.count == Number.bitWidth / 8 else { throw DeviceStateError("its \(name) has \(bytes.count) bytes") }
        return value(bytes, 0)
    }

    private static func value<Number: FixedWidthInteger>(_ bytes: [UInt8], _ offset: Int) -> Number {
        bytes[offset..<offset + Number.bitWidth / 8].reversed().reduce(0) { $0 << 8 | Number($1) }
    }

    private static func bytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> Number(8 * $0)) }
    }

    /// FNV-1a, 64 bits: against accidents, which is all that a checksum without a key can do.
    private static func checksum(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

/// Why a stream is not this device's state: the rest of a sentence that begins "the device state cannot be used:".
struct DeviceStateError: Error, Equatable {
    var reason: String
    init(_ reason: String) { self.reason = reason }
}
