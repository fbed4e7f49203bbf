/// How an operation is to be done.
@frozen
public struct IOFlags: OptionSet, Sendable {
    /// The set's bits.
    public var rawValue: UInt8
    /// Takes the set's bits.
    @inlinable
    @inline(__always)
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The operation completes only when its effect is on stable storage (write-through).
    @inlinable public static var durable: IOFlags { IOFlags(rawValue: 1) }
    /// A write of zeroes may give the range's space back.
    @inlinable public static var unmap: IOFlags { IOFlags(rawValue: 2) }
}
