import Virtio

/// What crosvm's SNAPSHOT takes and RESTORE gives back: the session's rings and the device's own state. Opaque to the front-end, which keeps
/// it in a file; read with distrust.
///
/// ```
/// magic "VHUBLKSS" | version u32 | ring count u32 | flags u32 | device status u32 | features u64 | saved rings u32, device bytes u32
/// ring: index u32 | size u32 | base u32 | flags u32 | descriptor u64 | used u64 | available u64     | device bytes | checksum u64
/// ```
/// Addresses are guest-physical. Numbers are in the machine's byte order, as in all messages.
struct SessionSnapshot: Equatable {
    /// A ring that is not in its initial state.
    struct Ring: Equatable {
        var index: Int
        var size: Int?
        var base: RingBase?
        /// By guest-physical addresses.
        var address: VringAddress?
        var isStarted: Bool
        var isEnabled: Bool
        var isPolled: Bool

        init(index: Int, _ ring: VhostUser.Ring) {
            self.index = index
            (size, base, address) = (ring.size, ring.base, ring.address)
            (isStarted, isEnabled, isPolled) = (ring.isStarted, ring.isEnabled, ring.isPolled)
        }
    }

    /// nil before SET_FEATURES.
    var features: VirtioFeatures?
    var deviceStatus: UInt8
    /// Of the device; those in `rings` are fewer.
    var ringCount: Int
    var device: [UInt8]
    var rings: [Ring] = []

    private static let magic = Array("VHUBLKSS".utf8)
    private static let version: UInt32 = 1
    private static let checksumBytes = 8

    init(features: VirtioFeatures?, deviceStatus: UInt8, ringCount: Int, device: [UInt8]) {
        (self.features, self.deviceStatus, self.ringCount, self.device) = (features, deviceStatus, ringCount, device)
    }

    /// The bytes.
    var encoded: [UInt8] {
        var bytes = Self.magic
        bytes.append(integer: Self.version)
        bytes.append(integer: UInt32(ringCount))
        bytes.append(integer: UInt32(features == nil ? 0 : 1))
        bytes.append(integer: UInt32(deviceStatus))
        bytes.append(integer: features?.rawValue ?? 0)
        bytes.append(integer: UInt32(rings.count))
        bytes.append(integer: UInt32(device.count))
        for ring in rings { ring.encode(into: &bytes) }
        bytes += device
        bytes.append(integer: Self.checksum(bytes))
        return bytes
    }

    /// Reads what `encoded` wrote; it may have been anybody's file in between.
    init(decoding bytes: [UInt8]) throws(PayloadError) {
        func refusal(_ reason: String) -> PayloadError { PayloadError(byteCount: bytes.count, reason: reason) }
        var reader = ByteReader(bytes)
        guard try reader.readBytes(8) == Self.magic else { throw refusal("is no snapshot of vhublk") }
        let version: UInt32 = try reader.read()
        guard version == Self.version else { throw refusal("is a snapshot of version \(version); \(Self.version) is known") }
        let body = bytes.dropLast(Self.checksumBytes)
        var end = ByteReader(bytes.suffix(Self.checksumBytes))
        guard try end.read() == Self.checksum(Array(body)) else { throw refusal("is a snapshot with a wrong checksum") }
        ringCount = Int(try reader.read() as UInt32)
        let flags: UInt32 = try reader.read()
        let status: UInt32 = try reader.read()
        guard flags <= 1, let deviceStatus = UInt8(exactly: status) else { throw refusal("has fields that no snapshot has") }
        self.deviceStatus = deviceStatus
        let bits: UInt64 = try reader.read()
        features = flags == 1 ? VirtioFeatures(rawValue: bits) : nil
        let savedCount = Int(try reader.read() as UInt32)
        let deviceCount = Int(try reader.read() as UInt32)
        device = []
        guard savedCount <= ringCount else { throw refusal("has more rings than its device") }
        for _ in 0..<savedCount {
            guard let ring = try Ring(&reader), ring.index < ringCount, ring.index > rings.last?.index ?? -1 else {
                throw refusal("has a ring that no snapshot has")
            }
            rings.append(ring)
        }
        device = try reader.readBytes(deviceCount)
        try reader.skip(Self.checksumBytes)
        try reader.finish()
    }

    /// FNV-1a, 64 bits: against accidents.
    private static func checksum(_ bytes: [UInt8]) -> UInt64 {
        bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

extension SessionSnapshot.Ring {
    private struct Flags: OptionSet {
        let rawValue: UInt32
        static let size = Flags(rawValue: 1)
        static let base = Flags(rawValue: 2)
        static let address = Flags(rawValue: 4)
        static let started = Flags(rawValue: 8)
        static let enabled = Flags(rawValue: 16)
        static let polled = Flags(rawValue: 32)
        static let all = Flags(rawValue: 63)
    }

    fileprivate func encode(into bytes: inout [UInt8]) {
        var flags: Flags = []
        if size != nil { flags.insert(.size) }
        if base != nil { flags.insert(.base) }
        if address != nil { flags.insert(.address) }
        if isStarted { flags.insert(.started) }
        if isEnabled { flags.insert(.enabled) }
        if isPolled { flags.insert(.polled) }
        bytes.append(integer: UInt32(index))
        bytes.append(integer: UInt32(size ?? 0))
        bytes.append(integer: base?.rawValue ?? 0)
        bytes.append(integer: flags.rawValue)
        for place in [address?.descriptor, address?.used, address?.available] { bytes.append(integer: place ?? 0) }
    }

    /// nil when flags are set that nobody knows.
    fileprivate init?(_ reader: inout ByteReader) throws(PayloadError) {
        index = Int(try reader.read() as UInt32)
        let size: UInt32 = try reader.read()
        let base: UInt32 = try reader.read()
        let flags = Flags(rawValue: try reader.read())
        let (descriptor, used, available): (UInt64, UInt64, UInt64) = (try reader.read(), try reader.read(), try reader.read())
        guard flags.isSubset(of: .all) else { return nil }
        self.size = flags.contains(.size) ? Int(size) : nil
        self.base = flags.contains(.base) ? RingBase(rawValue: base) : nil
        address =
            flags.contains(.address)
            ? VringAddress(index: UInt32(truncatingIfNeeded: index), descriptor: descriptor, used: used, available: available) : nil
        (isStarted, isEnabled, isPolled) = (flags.contains(.started), flags.contains(.enabled), flags.contains(.polled))
    }
}
