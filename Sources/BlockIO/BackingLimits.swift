/// What a backing can do besides reading and writing, and in which pieces; what the config space of its disk is made from.
public struct BackingLimits: Equatable, Sendable {
    /// Whether discards give space back. If not they still succeed, without effect.
    public var canDiscard: Bool
    /// The most bytes of one discard.
    public var discardBytesMax: UInt64
    /// Discards should begin and end at multiples of this many bytes; a power of two, at least the block size.
    public var discardGranularity: UInt32
    /// Whether zeroes can be written without sending them.
    public var canWriteZeroes: Bool
    /// The most bytes of one write of zeroes.
    public var writeZeroesBytesMax: UInt64
    /// Whether a write of zeroes with `IOFlags.unmap` may give space back.
    public var writeZeroesMayUnmap: Bool
    /// Whether ranges can be erased for good.
    public var canSecureErase: Bool
    /// The most bytes of one secure erase.
    public var secureEraseBytesMax: UInt64

    /// A backing that can none of it.
    public static let none = BackingLimits(
        canDiscard: false, discardBytesMax: 0, discardGranularity: 0, canWriteZeroes: false, writeZeroesBytesMax: 0,
        writeZeroesMayUnmap: false, canSecureErase: false, secureEraseBytesMax: 0)
}
