/// The two formats of a virtqueue.
public enum RingFormat: Sendable, Equatable, CaseIterable {
    /// Descriptor table, available ring, used ring (virtio 1.3, 2.7).
    case split
    /// One descriptor ring, two event suppression structures (virtio 1.3, 2.8).
    case packed
}

/// The memory of one ring: its three parts and, when indirect descriptors are used, one table for each entry.
///
/// ```
/// split    descriptors 16 * size | available 6 + 2 * size | used 6 + 8 * size
/// packed   descriptors 16 * size | driver event 4         | device event 4
/// ```
@frozen
public struct DriverRingArea: Sendable {
    /// Number of entries.
    public let size: Int
    /// Which format the parts have.
    public let format: RingFormat
    /// Descriptor table or descriptor ring, 16-byte aligned.
    public let descriptors: SharedBuffer
    /// Available ring, or the driver's event suppression structure.
    public let driver: SharedBuffer
    /// Used ring, or the device's event suppression structure.
    public let device: SharedBuffer
    /// `size` tables of `tableCapacity` descriptors each; empty without indirect descriptors.
    public let tables: SharedBuffer
    /// Descriptors in each table.
    public let tableCapacity: Int

    /// Bytes of the part that the driver writes.
    public static func driverBytes(_ format: RingFormat, size: Int) -> Int {
        format == .split ? 6 + 2 * size : 4
    }

    /// Bytes of the part that the device writes.
    public static func deviceBytes(_ format: RingFormat, size: Int) -> Int {
        format == .split ? 6 + 8 * size : 4
    }

    /// Describes a ring by its parts.
    public init(
        size: Int, format: RingFormat, descriptors: SharedBuffer, driver: SharedBuffer, device: SharedBuffer, tables: SharedBuffer,
        tableCapacity: Int
    ) {
        precondition(size > 0 && size <= 32768, "a ring has 1 to 32768 entries")
        precondition(format == .packed || size & (size - 1) == 0, "a split ring's size is a power of two")
        precondition(descriptors.size >= 16 * size, "descriptor part too small")
        precondition(driver.size >= Self.driverBytes(format, size: size), "driver part too small")
        precondition(device.size >= Self.deviceBytes(format, size: size), "device part too small")
        precondition(tables.size >= 16 * size * tableCapacity, "indirect tables too small")
        self.size = size
        self.format = format
        self.descriptors = descriptors
        self.driver = driver
        self.device = device
        self.tables = tables
        self.tableCapacity = tableCapacity
    }

    /// Takes a ring's parts from `memory`, each on cache lines of its own; nil when it has no room left.
    public init?(size: Int, format: RingFormat, options: DriverRingOptions, memory: DriverMemory, region: Int = 0) {
        let capacity = options.indirect ? options.indirectCapacity : 0
        guard let descriptors = memory.allocate(16 * size, alignment: 4096, region: region),
            let driver = memory.allocate(Self.driverBytes(format, size: size), alignment: 128, region: region),
            let device = memory.allocate(Self.deviceBytes(format, size: size), alignment: 128, region: region),
            let tables = memory.allocate(16 * size * capacity, alignment: 128, region: region)
        else { return nil }
        self.init(
            size: size, format: format, descriptors: descriptors, driver: driver, device: device, tables: tables, tableCapacity: capacity)
    }

    /// Sets every byte of the ring's parts to 0, as a driver does before it starts a queue.
    public func clear() {
        for part in [descriptors, driver, device, tables] where part.size > 0 {
            // The part lies inside its mapping: DriverMemory handed it out.
            unsafe part.pointer.initializeMemory(as: UInt8.self, repeating: 0, count: part.size)
        }
    }
}

/// Descriptor flags and event suppression values (virtio 1.3, 2.7.5, 2.7.6, 2.8.8, 2.8.14).
public enum RingFlag {
    /// VIRTQ_DESC_F_NEXT.
    public static let next: UInt16 = 1
    /// VIRTQ_DESC_F_WRITE.
    public static let write: UInt16 = 2
    /// VIRTQ_DESC_F_INDIRECT.
    public static let indirect: UInt16 = 4
    /// VIRTQ_DESC_F_AVAIL of a packed ring.
    public static let available: UInt16 = 1 << 7
    /// VIRTQ_DESC_F_USED of a packed ring.
    public static let used: UInt16 = 1 << 15
    /// VIRTQ_AVAIL_F_NO_INTERRUPT and VIRTQ_USED_F_NO_NOTIFY of a split ring.
    public static let suppress: UInt16 = 1
    /// RING_EVENT_FLAGS_ENABLE of a packed ring.
    public static let eventEnable: UInt16 = 0
    /// RING_EVENT_FLAGS_DISABLE of a packed ring.
    public static let eventDisable: UInt16 = 1
    /// RING_EVENT_FLAGS_DESC of a packed ring.
    public static let eventAtDescriptor: UInt16 = 2
}
