/// Virtio feature bits: the ring's and transport's (virtio 1.3, section 6) and, in `VirtioFeatures+Block.swift`, the block device's (5.2.3).
///
/// They share one 64-bit space, the one GET_FEATURES and SET_FEATURES carry.
@frozen
public struct VirtioFeatures: OptionSet, Hashable, Sendable {
    /// The 64 bits.
    public let rawValue: UInt64

    /// Takes the 64 bits as they are, known or not.
    @inlinable
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable
    init(bit: Int) { rawValue = 1 << UInt64(bit) }

    /// VIRTIO_F_NOTIFY_ON_EMPTY (legacy): notify when the avail ring runs empty, even if suppressed.
    public static let notifyOnEmpty = VirtioFeatures(bit: 24)
    /// VIRTIO_F_ANY_LAYOUT (legacy): descriptors may be laid out in any way.
    public static let anyLayout = VirtioFeatures(bit: 27)
    /// VIRTIO_F_INDIRECT_DESC: indirect tables.
    public static let ringIndirectDescriptors = VirtioFeatures(bit: 28)
    /// VIRTIO_F_EVENT_IDX: used_event and avail_event instead of flags.
    public static let ringEventIndex = VirtioFeatures(bit: 29)
    /// VHOST_USER_F_PROTOCOL_FEATURES, the vhost-user specification's own bit.
    public static let protocolFeatures = VirtioFeatures(bit: 30)
    /// VHOST_F_LOG_ALL: log all guest memory writes for migration.
    public static let logAll = VirtioFeatures(bit: 26)
    /// VIRTIO_F_VERSION_1: not legacy.
    public static let version1 = VirtioFeatures(bit: 32)
    /// VIRTIO_F_ACCESS_PLATFORM: addresses go through an IOMMU.
    public static let accessPlatform = VirtioFeatures(bit: 33)
    /// VIRTIO_F_RING_PACKED: packed virtqueue layout.
    public static let ringPacked = VirtioFeatures(bit: 34)
    /// VIRTIO_F_IN_ORDER: buffers are used in the order they were made available.
    public static let inOrder = VirtioFeatures(bit: 35)
    /// VIRTIO_F_ORDER_PLATFORM: the driver uses barriers fit for devices.
    public static let orderPlatform = VirtioFeatures(bit: 36)
    /// VIRTIO_F_NOTIFICATION_DATA: kicks carry the avail index.
    public static let notificationData = VirtioFeatures(bit: 38)
    /// VIRTIO_F_RING_RESET: a queue can be reset alone.
    public static let ringReset = VirtioFeatures(bit: 40)
}

extension VirtioFeatures: CustomStringConvertible {
    /// Names of the known bits by bit number, as the specifications write them.
    static let names: [Int: String] = [
        1: "SIZE_MAX", 2: "SEG_MAX", 4: "GEOMETRY", 5: "RO", 6: "BLK_SIZE", 9: "FLUSH", 10: "TOPOLOGY", 11: "CONFIG_WCE", 12: "MQ",
        13: "DISCARD", 14: "WRITE_ZEROES", 15: "LIFETIME", 16: "SECURE_ERASE", 17: "ZONED", 24: "NOTIFY_ON_EMPTY", 26: "LOG_ALL",
        27: "ANY_LAYOUT", 28: "INDIRECT_DESC", 29: "EVENT_IDX", 30: "PROTOCOL_FEATURES", 32: "VERSION_1", 33: "ACCESS_PLATFORM",
        34: "RING_PACKED", 35: "IN_ORDER", 36: "ORDER_PLATFORM", 38: "NOTIFICATION_DATA", 40: "RING_RESET",
    ]

    /// The names of the set bits, lowest first; a bit without a name is written as its number.
    public var bitNames: [String] {
        (0..<64).filter { rawValue >> UInt64($0) & 1 != 0 }.map { Self.names[$0] ?? "bit \($0)" }
    }

    /// The names of the set bits, lowest first, joined by spaces.
    public var description: String { bitNames.joined(separator: " ") }
}
