/// The shapes and sizes of a request queue of the driver.
public struct BlockQueueLayout: Sendable, Equatable {
    /// Entries of the ring.
    public var ringSize: Int
    /// Split or packed.
    public var format: RingFormat
    /// What was negotiated.
    public var options: DriverRingOptions
    /// Requests that can be in flight at once, each with memory of its own.
    public var slotCount: Int
    /// Bytes of data memory of each slot.
    public var slotBytes: Int
    /// A request's data goes in segments of at most this many bytes.
    public var segmentBytes: Int
    /// Chains go through indirect tables (when negotiated).
    public var usesIndirect: Bool

    /// A queue's shape; the defaults are those of a Linux guest.
    public init(
        ringSize: Int = 128, format: RingFormat = .split, options: DriverRingOptions = DriverRingOptions(), slotCount: Int = 32,
        slotBytes: Int = 4096, segmentBytes: Int = Int.max, usesIndirect: Bool = true
    ) {
        self.ringSize = ringSize
        self.format = format
        self.options = options
        self.slotCount = slotCount
        self.slotBytes = slotBytes
        self.segmentBytes = segmentBytes
        self.usesIndirect = usesIndirect
    }

    /// Segments of data that a full slot is cut into.
    public var dataSegmentsMax: Int { segmentBytes >= slotBytes ? 1 : (slotBytes + segmentBytes - 1) / segmentBytes }

    /// Bytes of guest memory that a queue of this shape takes, alignment included.
    public var memoryBytes: Int {
        let capacity = options.indirect ? max(options.indirectCapacity, dataSegmentsMax + 2) : 0
        let ring =
            16 * ringSize + DriverRingArea.driverBytes(format, size: ringSize) + DriverRingArea.deviceBytes(format, size: ringSize)
            + 16 * ringSize * capacity
        let stride = (slotBytes + 4095) & ~4095
        return ring + 64 * slotCount + stride * slotCount + 6 * 4096
    }
}
