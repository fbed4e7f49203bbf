public import LinuxSystem

/// Where `pop` puts a chain's segments: a request's own few vectors first, a larger spill block when they do not suffice.
///
/// When a chain does not fit at `base`, `pop` copies what it has to `spill`, goes on there, and leaves `base` equal to `spill`.
///
/// Safety: the caller vouches for the capacities; pop never writes past them.
@frozen
@safe
public struct SegmentBuffer {
    /// Where the segments are after `pop`; set it to the request's own vectors before.
    public var base: UnsafeMutablePointer<IOVector>
    /// Number of vectors at `base`; after a spill that of the spill block.
    public var capacity: Int32
    /// Number of vectors at `spill`.
    public var spillCapacity: Int32
    /// The larger block, or nil if none is free: a chain that needs it is then left in the ring (`PopResult.blocked`).
    public var spill: UnsafeMutablePointer<IOVector>?

    /// Describes the two blocks.
    @inlinable
    @inline(__always)
    public init(base: UnsafeMutablePointer<IOVector>, capacity: Int32, spill: UnsafeMutablePointer<IOVector>?, spillCapacity: Int32) {
        unsafe self.base = unsafe base
        self.capacity = capacity
        unsafe self.spill = unsafe spill
        self.spillCapacity = spillCapacity
    }

    /// Most segments a chain can have here; also the most descriptors a walk looks at.
    @inlinable var segmentsMax: Int32 { max(capacity, spillCapacity) }

    /// Whether the last `pop` needed the spill block.
    @inlinable public var hasSpilled: Bool { unsafe spill == base }
}
