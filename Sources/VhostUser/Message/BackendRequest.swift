/// The requests a back-end sends over the back-end channel (vhost-user specification, "Back-end message types").
public enum BackendRequest: UInt32, CaseIterable, Sendable {
    case iotlbMessage = 1
    case configChange = 2
    case vringHostNotifier = 3
    case vringCall = 4
    case vringError = 5
    case sharedObjectAdd = 6
    case sharedObjectRemove = 7
    case sharedObjectLookup = 8
    case sharedMemoryMap = 9
    case sharedMemoryUnmap = 10

    /// The name the specification gives the message, without its VHOST_USER_BACKEND_ prefix.
    public var name: String {
        switch self {
        case .iotlbMessage: "IOTLB_MSG"
        case .configChange: "CONFIG_CHANGE_MSG"
        case .vringHostNotifier: "VRING_HOST_NOTIFIER_MSG"
        case .vringCall: "VRING_CALL"
        case .vringError: "VRING_ERR"
        case .sharedObjectAdd: "SHARED_OBJECT_ADD"
        case .sharedObjectRemove: "SHARED_OBJECT_REMOVE"
        case .sharedObjectLookup: "SHARED_OBJECT_LOOKUP"
        case .sharedMemoryMap: "SHMEM_MAP"
        case .sharedMemoryUnmap: "SHMEM_UNMAP"
        }
    }
}
