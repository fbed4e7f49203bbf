/// The protocol feature bits (vhost-user specification, "Protocol features").
@frozen
public struct ProtocolFeatures: OptionSet, Hashable, Sendable {
    /// The 64 bits of GET_PROTOCOL_FEATURES and SET_PROTOCOL_FEATURES.
    public let rawValue: UInt64

    /// Takes the 64 bits as they are, known or not.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    init(bit: Int) { rawValue = 1 << UInt64(bit) }

    /// MQ: GET_QUEUE_NUM is answered.
    public static let multiQueue = ProtocolFeatures(bit: 0)
    /// LOG_SHMFD: the dirty log is shared memory, given with SET_LOG_BASE.
    public static let logSharedMemory = ProtocolFeatures(bit: 1)
    /// RARP: network devices.
    public static let rarp = ProtocolFeatures(bit: 2)
    /// REPLY_ACK: any message may ask for an answer.
    public static let replyAck = ProtocolFeatures(bit: 3)
    /// MTU: network devices.
    public static let mtu = ProtocolFeatures(bit: 4)
    /// BACKEND_REQ: a second channel for the back-end's own requests.
    public static let backendChannel = ProtocolFeatures(bit: 5)
    /// CROSS_ENDIAN: legacy rings in the other byte order.
    public static let crossEndian = ProtocolFeatures(bit: 6)
    /// CRYPTO_SESSION: crypto devices.
    public static let cryptoSession = ProtocolFeatures(bit: 7)
    /// PAGEFAULT: post-copy migration with userfaultfd.
    public static let pageFault = ProtocolFeatures(bit: 8)
    /// CONFIG: GET_CONFIG, SET_CONFIG and CONFIG_CHANGE_MSG.
    public static let config = ProtocolFeatures(bit: 9)
    /// BACKEND_SEND_FD: the back-end may send descriptors over its channel.
    public static let backendSendDescriptor = ProtocolFeatures(bit: 10)
    /// HOST_NOTIFIER: doorbells of hardware.
    public static let hostNotifier = ProtocolFeatures(bit: 11)
    /// INFLIGHT_SHMFD: requests in flight are tracked in shared memory.
    public static let inflightSharedMemory = ProtocolFeatures(bit: 12)
    /// RESET_DEVICE: RESET_DEVICE is understood.
    public static let resetDevice = ProtocolFeatures(bit: 13)
    /// INBAND_NOTIFICATIONS: kicks and calls as messages.
    public static let inbandNotifications = ProtocolFeatures(bit: 14)
    /// CONFIGURE_MEM_SLOTS: memory regions come and go one at a time.
    public static let configureMemorySlots = ProtocolFeatures(bit: 15)
    /// STATUS: the virtio device status is told.
    public static let status = ProtocolFeatures(bit: 16)
    /// XEN_MMAP: Xen's foreign and grant mappings.
    public static let xenMapping = ProtocolFeatures(bit: 17)
    /// SHARED_OBJECT: dma-buf exchange between devices.
    public static let sharedObject = ProtocolFeatures(bit: 18)
    /// DEVICE_STATE: the back-end's state travels with a migration.
    public static let deviceState = ProtocolFeatures(bit: 19)
    /// GET_VRING_BASE_INFLIGHT: GET_VRING_BASE leaves requests in the inflight region.
    public static let getVringBaseInflight = ProtocolFeatures(bit: 20)
    /// GPA_ADDRESSES: ring addresses are guest-physical.
    public static let guestPhysicalAddresses = ProtocolFeatures(bit: 21)
    /// SHMEM: virtio shared memory regions.
    public static let sharedMemory = ProtocolFeatures(bit: 22)
}

extension ProtocolFeatures: CustomStringConvertible {
    /// Names of the known bits by bit number, as the specification writes them.
    static let names: [Int: String] = [
        0: "MQ", 1: "LOG_SHMFD", 2: "RARP", 3: "REPLY_ACK", 4: "MTU", 5: "BACKEND_REQ", 6: "CROSS_ENDIAN", 7: "CRYPTO_SESSION",
        8: "PAGEFAULT", 9: "CONFIG", 10: "BACKEND_SEND_FD", 11: "HOST_NOTIFIER", 12: "INFLIGHT_SHMFD", 13: "RESET_DEVICE",
        14: "INBAND_NOTIFICATIONS", 15: "CONFIGURE_MEM_SLOTS", 16: "STATUS", 17: "XEN_MMAP", 18: "SHARED_OBJECT", 19: "DEVICE_STATE",
        20: "GET_VRING_BASE_INFLIGHT", 21: "GPA_ADDRESSES", 22: "SHMEM",
    ]

    /// The names of the set bits, lowest first; a bit without a name is written as its number.
    public var bitNames: [String] {
        (0..<64).filter { rawValue >> UInt64($0) & 1 != 0 }.map { Self.names[$0] ?? "bit \($0)" }
    }

    /// The names of the set bits, lowest first, joined by spaces.
    public var description: String { bitNames.joined(separator: " ") }
}
