/// Where a device wrote into a ring, in bytes from the start of one of its areas; for the dirty log.
public struct RingWrites: Equatable, Sendable {
    /// The area that used elements go to.
    public enum Area: Sendable {
        /// Packed rings: used descriptors take the place of the available ones.
        case descriptors
        /// Split rings: the used ring.
        case device
    }

    /// Where they lie.
    public var area: Area
    /// Bytes written up to the area's end.
    public var first: Range<Int>
    /// Bytes written from the area's start on, when the elements went past its end; and of a split ring its idx.
    public var second: Range<Int>

    /// Names the two pieces.
    public init(area: Area, first: Range<Int>, second: Range<Int>) {
        self.area = area
        self.first = first
        self.second = second
    }
}

extension SplitRing {
    /// The used index that the driver sees.
    public var usedCursor: UInt32 { UInt32(usedPublished) }

    /// Elements of 8 bytes behind flags and idx.
    public func usedWrites(since cursor: UInt32) -> RingWrites {
        let count = Int(usedPublished &- UInt16(truncatingIfNeeded: cursor))
        let start = Int(UInt16(truncatingIfNeeded: cursor) & mask)
        let end = min(start + count, Int(size))
        return RingWrites(area: .device, first: 4 + 8 * start..<4 + 8 * end, second: 0..<4 + 8 * (start + count - end))
    }

    /// avail_event, or flags.
    public var notificationWrite: Range<Int> { hasEventIndex ? 4 + 8 * Int(size)..<6 + 8 * Int(size) : 0..<2 }
}

extension PackedRing {
    /// The place of the next used descriptor and, above it, its wrap counter.
    public var usedCursor: UInt32 { usedNext | (usedBits != 0 ? 1 << 16 : 0) }

    /// Descriptors of 16 bytes. Those between the used ones are counted as written: a chain's first takes its used descriptor.
    public func usedWrites(since cursor: UInt32) -> RingWrites {
        let start = Int(cursor & 0xffff)
        let hasWrapped = cursor >> 16 != usedCursor >> 16
        return RingWrites(
            area: .descriptors, first: 16 * start..<16 * Int(hasWrapped ? size : usedNext),
            second: 0..<16 * (hasWrapped ? Int(usedNext) : 0))
    }

    /// The device event suppression area.
    public var notificationWrite: Range<Int> { 0..<4 }
}
