/// "A vring state description": a ring and a number, whose meaning is the message's.
@frozen
public struct VringState: Equatable, Sendable {
    /// Which ring.
    public var index: UInt32
    /// The number: a size, a base, 0 or 1.
    public var number: UInt32

    /// Gathers the two fields.
    public init(index: UInt32, number: UInt32) {
        self.index = index
        self.number = number
    }
}

/// "A vring address description": where the front-end sees the parts of a ring.
@frozen
public struct VringAddress: Equatable, Sendable {
    /// Bit 0 of `flags`, VHOST_VRING_F_LOG: writes to the used ring are logged at `log`.
    public static let logFlag: UInt32 = 1

    /// Which ring.
    public var index: UInt32
    /// See `logFlag`; other bits have no meaning.
    public var flags: UInt32
    /// Descriptor table (split) or descriptor ring (packed).
    public var descriptor: UInt64
    /// Used ring (split) or device event suppression (packed).
    public var used: UInt64
    /// Available ring (split) or driver event suppression (packed).
    public var available: UInt64
    /// Guest address for logging of used ring writes.
    public var log: UInt64

    /// Gathers the fields.
    public init(index: UInt32, flags: UInt32 = 0, descriptor: UInt64, used: UInt64, available: UInt64, log: UInt64 = 0) {
        self.index = index
        self.flags = flags
        self.descriptor = descriptor
        self.used = used
        self.available = available
        self.log = log
    }
}

/// The u64 of SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR: a ring, and whether a descriptor comes with it.
@frozen
public struct VringDescriptorReference: Equatable, Sendable {
    /// Which ring, 0 to 255: bits 0 to 7.
    public var index: UInt8
    /// Bit 8 clear: a descriptor comes along. Set: none does, and the ring is polled (kick) or not signalled (call, error).
    public var hasDescriptor: Bool
    /// Bits 9 to 63, which the specification leaves zero.
    public var reserved: UInt64

    /// Gathers the fields.
    public init(index: UInt8, hasDescriptor: Bool) {
        self.index = index
        self.hasDescriptor = hasDescriptor
        reserved = 0
    }

    /// Takes the u64 apart.
    public init(rawValue: UInt64) {
        index = UInt8(truncatingIfNeeded: rawValue)
        hasDescriptor = rawValue & 0x100 == 0
        reserved = rawValue & ~0x1ff
    }

    /// The u64.
    public var rawValue: UInt64 { UInt64(index) | (hasDescriptor ? 0 : 0x100) | reserved }
}

/// "Vring area description", of VRING_HOST_NOTIFIER_MSG.
@frozen
public struct VringArea: Equatable, Sendable {
    /// Ring index and flags.
    public var reference: UInt64
    /// Bytes of the area.
    public var size: UInt64
    /// Where the area begins in the descriptor.
    public var offset: UInt64

    /// Gathers the fields.
    public init(reference: UInt64, size: UInt64, offset: UInt64) {
        self.reference = reference
        self.size = size
        self.offset = offset
    }
}
