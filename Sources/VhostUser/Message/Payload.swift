/// What a message carries after its header, typed.
public enum Payload: Equatable, Sendable {
    case none
    case u64(UInt64)
    case vringState(VringState)
    case vringAddress(VringAddress)
    case vringDescriptor(VringDescriptorReference)
    case vringArea(VringArea)
    case memoryTable([MemoryRegionDescription])
    case memoryRegion(MemoryRegionDescription)
    case log(LogDescription)
    case iotlb(IOTLBMessage)
    case config(ConfigAccess)
    case inflight(InflightDescription)
    case deviceState(DeviceStateTransfer)
    case sharedMemoryConfig(SharedMemoryConfig)
    case sharedMemoryMapping(SharedMemoryMapping)
    /// 16 bytes.
    case uuid([UInt8])
    /// Bytes that mean something to the device behind the message only.
    case opaque([UInt8])

    /// The cases of `Payload` without their values.
    public enum Kind: CaseIterable, Sendable {
        case none, u64, vringState, vringAddress, vringDescriptor, vringArea, memoryTable, memoryRegion, log, iotlb, config, inflight
        case deviceState, sharedMemoryConfig, sharedMemoryMapping, uuid, opaque
    }

    /// Which case this is.
    public var kind: Kind {
        switch self {
        case .none: .none
        case .u64: .u64
        case .vringState: .vringState
        case .vringAddress: .vringAddress
        case .vringDescriptor: .vringDescriptor
        case .vringArea: .vringArea
        case .memoryTable: .memoryTable
        case .memoryRegion: .memoryRegion
        case .log: .log
        case .iotlb: .iotlb
        case .config: .config
        case .inflight: .inflight
        case .deviceState: .deviceState
        case .sharedMemoryConfig: .sharedMemoryConfig
        case .sharedMemoryMapping: .sharedMemoryMapping
        case .uuid: .uuid
        case .opaque: .opaque
        }
    }
}
