/// The front-end that is connected to an export.
public struct FrontendInfo: DescribedObject {
    /// Its process id.
    public var pid: Int?
    /// Names of the negotiated virtio features.
    public var features: [String]
    /// Names of the negotiated vhost-user protocol features.
    public var protocolFeatures: [String]
    /// Memory regions mapped.
    public var memoryRegions: Int
    /// Bytes of guest memory mapped.
    public var memoryBytes: UInt64
    /// The virtio device status byte.
    public var deviceStatus: Int?
    /// Bytes of the dirty log.
    public var logBytes: UInt64?
    /// What is being done besides serving.
    public var activities: [String]

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case pid, features
        case protocolFeatures = "protocol_features"
        case memoryRegions = "memory_regions"
        case memoryBytes = "memory_bytes"
        case deviceStatus = "device_status"
        case logBytes = "log_bytes"
        case activities
    }

    /// Members.
    public static var fields: [Field] {
        [
            .optional(CodingKeys.pid, .natural, "its process id, where the kernel tells it"),
            .required(CodingKeys.features, .array(of: .text), "names of the negotiated virtio features"),
            .required(CodingKeys.protocolFeatures, .array(of: .text), "names of the negotiated vhost-user protocol features"),
            .required(CodingKeys.memoryRegions, .natural, "memory regions mapped"),
            .required(CodingKeys.memoryBytes, .natural, "bytes of guest memory mapped"),
            .optional(CodingKeys.deviceStatus, .integer(0...255), "the virtio device status byte, when the front-end sends it"),
            .optional(CodingKeys.logBytes, .natural, "bytes of the dirty log that the front-end gave for a migration"),
            .required(
                CodingKeys.activities, .array(of: .text),
                "what is being done besides serving: logging (the virtual machine migrates), moving state, post-copy, asleep (crosvm's SLEEP)"
            ),
        ]
    }

    /// A front-end.
    public init(
        pid: Int?, features: [String], protocolFeatures: [String], memoryRegions: Int, memoryBytes: UInt64, deviceStatus: Int?,
        logBytes: UInt64? = nil, activities: [String] = []
    ) {
        self.logBytes = logBytes
        self.activities = activities
        self.pid = pid
        self.features = features
        self.protocolFeatures = protocolFeatures
        self.memoryRegions = memoryRegions
        self.memoryBytes = memoryBytes
        self.deviceStatus = deviceStatus
    }
}
