/// A ring's position as SET_VRING_BASE sets it and GET_VRING_BASE answers it.
///
/// vhost-user specification, "Vring state description": a split ring's next avail index (16 bits); for a packed ring bits 0-14 and 15 are the
/// next descriptor to look at and its wrap counter, bits 16-30 and 31 the next used descriptor and its wrap counter.
@frozen
public struct RingBase: RawRepresentable, Equatable, Hashable, Sendable, CustomStringConvertible {
    /// The 32 bits of the message's `num` field.
    public var rawValue: UInt32

    /// Takes the 32 bits of the message's `num` field as they are.
    @inlinable
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The position of a split ring.
    @inlinable
    public init(split availIndex: UInt16) { rawValue = UInt32(availIndex) }

    /// The positions of a packed ring, indices below 2^15.
    @inlinable
    public init(packedAvail availIndex: UInt16, wrap availWrap: Bool, used usedIndex: UInt16, wrap usedWrap: Bool) {
        rawValue =
            UInt32(availIndex & 0x7fff) | (availWrap ? 0x8000 : 0) | UInt32(usedIndex & 0x7fff) << 16 | (usedWrap ? 0x8000_0000 : 0)
    }

    /// Where a fresh packed ring begins: both indices 0, both wrap counters 1 (virtio 1.3, 2.8.1).
    public static var packedStart: RingBase { RingBase(packedAvail: 0, wrap: true, used: 0, wrap: true) }

    /// Next avail index of a split ring.
    @inlinable public var splitAvailIndex: UInt16 { UInt16(truncatingIfNeeded: rawValue) }
    /// Next descriptor of a packed ring to look at.
    @inlinable public var packedAvailIndex: UInt16 { UInt16(truncatingIfNeeded: rawValue & 0x7fff) }
    /// Wrap counter that goes with `packedAvailIndex`.
    @inlinable public var packedAvailWrap: Bool { rawValue & 0x8000 != 0 }
    /// Next used descriptor of a packed ring.
    @inlinable public var packedUsedIndex: UInt16 { UInt16(truncatingIfNeeded: rawValue >> 16 & 0x7fff) }
    /// Wrap counter that goes with `packedUsedIndex`.
    @inlinable public var packedUsedWrap: Bool { rawValue & 0x8000_0000 != 0 }

    /// The raw value in hexadecimal.
    public var description: String { "0x" + String(rawValue, radix: 16) }
}
