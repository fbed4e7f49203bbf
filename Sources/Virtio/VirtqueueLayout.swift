/// The sizes, alignments and limits of a virtqueue's three areas (virtio 1.3, 2.7 and 2.8).
public struct VirtqueueLayout: Equatable, Sendable {
    /// Largest queue of either format.
    public static let queueSizeMax = 32768

    /// Bytes of the descriptor area, a multiple of 16.
    public var descriptorBytes: Int
    /// Bytes of the driver area (split: avail ring with used_event; packed: driver event suppression).
    public var driverBytes: Int
    /// Bytes of the device area (split: used ring with avail_event; packed: device event suppression).
    public var deviceBytes: Int
    /// Alignment of the descriptor area in bytes.
    public let descriptorAlignment = 16
    /// Alignment of the driver area in bytes.
    public var driverAlignment: Int
    /// Alignment of the device area in bytes.
    public let deviceAlignment = 4

    /// The layout of a queue with `queueSize` descriptors. The event index fields at the rings' ends count only when negotiated.
    public init(queueSize: Int, features: VirtioFeatures) {
        descriptorBytes = 16 * queueSize
        if features.contains(.ringPacked) {
            driverBytes = 4
            deviceBytes = 4
            driverAlignment = 4
        } else {
            let event = features.contains(.ringEventIndex) ? 2 : 0
            driverBytes = 4 + 2 * queueSize + event
            deviceBytes = 4 + 8 * queueSize + event
            driverAlignment = 2
        }
    }

    /// Whether a queue may have `queueSize` descriptors: a power of two up to 32768 when split, 1 to 32768 when packed.
    public static func isValid(queueSize: Int, features: VirtioFeatures) -> Bool {
        guard queueSize >= 1, queueSize <= queueSizeMax else { return false }
        return features.contains(.ringPacked) || queueSize & (queueSize - 1) == 0
    }
}

/// Where this process sees the three areas of a ring.
///
/// Safety: addresses only; the ring types that follow them say why they may.
@frozen
@safe
public struct RingAddresses {
    /// Split: descriptor table. Packed: descriptor ring.
    public var descriptors: UnsafeMutableRawPointer
    /// Split: avail ring. Packed: driver event suppression.
    public var driver: UnsafeMutableRawPointer
    /// Split: used ring. Packed: device event suppression.
    public var device: UnsafeMutableRawPointer

    /// Takes the three addresses; the caller has checked that the areas lie in guest memory.
    @inlinable
    public init(descriptors: UnsafeMutableRawPointer, driver: UnsafeMutableRawPointer, device: UnsafeMutableRawPointer) {
        unsafe self.descriptors = unsafe descriptors
        unsafe self.driver = unsafe driver
        unsafe self.device = unsafe device
    }
}
