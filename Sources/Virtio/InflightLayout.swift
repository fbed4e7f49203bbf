/// The shape of an inflight region: one part per queue, each at a multiple of 64 bytes (vhost-user specification, "Inflight I/O tracking").
public struct InflightLayout: Equatable, Sendable {
    /// Parts begin at multiples of this many bytes, as other back-ends have it, so that a region survives a change of back-end.
    public static let alignment = 64

    /// Number of queues.
    public let queueCount: Int
    /// Entries per queue.
    public let queueSize: Int
    /// Whether the rings are packed.
    public let isPacked: Bool

    /// The layout for `queueCount` queues of `queueSize` entries (both as the messages carry them, 1 to 65535).
    public init(queueCount: Int, queueSize: Int, isPacked: Bool) {
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.isPacked = isPacked
    }

    /// Bytes of one queue's part.
    public var queueBytes: Int {
        let bytes =
            isPacked
            ? PackedInflight.headerBytes + queueSize * PackedInflight.entryBytes
            : SplitInflight.headerBytes + queueSize * SplitInflight.entryBytes
        return (bytes + Self.alignment - 1) & ~(Self.alignment - 1)
    }

    /// Bytes of the whole region. A region of zeroes of that size is a fresh one.
    public var regionBytes: Int { queueCount * queueBytes }

    /// The part of one queue; `region` is the first byte of a mapping of at least `regionBytes`.
    public func queue(_ index: Int, in region: UnsafeMutableRawPointer) -> InflightQueue {
        precondition(index >= 0 && index < queueCount)
        return unsafe InflightQueue(base: region + index * queueBytes, entryCount: queueSize)
    }
}

/// One queue's part of the inflight region: the shared memory in which the requests in flight survive the death of this process.
///
/// Safety: the pointer is followed by the ring types only, with every value read through it checked: the front-end can write there too.
@frozen
@safe
public struct InflightQueue {
    /// First byte of the queue's part, 8-byte aligned.
    public var base: UnsafeMutableRawPointer
    /// Number of entries (desc_num), at least the ring's size: firmware may run a smaller ring than the front-end announced.
    public var entryCount: Int

    /// Names the part; the caller vouches that it is mapped whole.
    @inlinable
    public init(base: UnsafeMutableRawPointer, entryCount: Int) {
        unsafe self.base = unsafe base
        self.entryCount = entryCount
    }

    /// Whether the part has requests in flight, as far as that can be told without the ring: of a batch that was being given back when a
    /// daemon died it may say so too. For a ring that does not run.
    public func mayHaveRequests(isPacked: Bool) -> Bool {
        guard unsafe base.shared16(at: InflightHeader.versionOffset) != 0 else { return false }
        let header = isPacked ? PackedInflight.headerBytes : SplitInflight.headerBytes
        let entry = isPacked ? PackedInflight.entryBytes : SplitInflight.entryBytes
        // The mark is an entry's first byte in both layouts.
        return (0..<entryCount).contains { unsafe base.shared8(at: header + $0 * entry) != 0 }
    }

    /// Makes the part a fresh one, which the next ring to start there sets up anew: for a device reset, after which nothing is in flight.
    public func forget() {
        var observer = Unobserved()
        unsafe observer.release16(0, base + InflightHeader.versionOffset)
    }
}

/// What both kinds of part begin with: features u64 at 0, version u16 at 8, desc_num u16 at 10.
@usableFromInline
enum InflightHeader {
    static let versionOffset = 8
    static let entryCountOffset = 10
    /// The version this back-end writes and reads; 0 is a part nobody has set up yet.
    static let version: UInt16 = 1

    /// Checks what both kinds share. False for a fresh part.
    static func isInUse(_ region: InflightQueue, queueSize: Int) throws(VirtqueueError) -> Bool {
        guard unsafe UInt(bitPattern: region.base) & 7 == 0 else { throw .damagedInflightRegion("misaligned") }
        guard region.entryCount >= queueSize, region.entryCount <= Int(UInt16.max) else {
            throw .damagedInflightRegion("\(region.entryCount) entries for a queue of \(queueSize)")
        }
        let version = unsafe region.base.shared16(at: versionOffset)
        if version == 0 { return false }
        guard version == Self.version else { throw .damagedInflightRegion("version \(version)") }
        let entryCount = unsafe region.base.shared16(at: entryCountOffset)
        guard Int(entryCount) == region.entryCount else {
            throw .damagedInflightRegion("desc_num \(entryCount), expected \(region.entryCount)")
        }
        return true
    }
}
