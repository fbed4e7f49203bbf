/// The requests a front-end sends (vhost-user specification, "Front-end message types"), with crosvm's own above 1000.
public enum FrontendRequest: UInt32, CaseIterable, Sendable {
    case getFeatures = 1
    case setFeatures = 2
    case setOwner = 3
    case resetOwner = 4
    case setMemoryTable = 5
    case setLogBase = 6
    case setLogDescriptor = 7
    case setVringSize = 8
    case setVringAddress = 9
    case setVringBase = 10
    case getVringBase = 11
    case setVringKick = 12
    case setVringCall = 13
    case setVringError = 14
    case getProtocolFeatures = 15
    case setProtocolFeatures = 16
    case getQueueCount = 17
    case setVringEnable = 18
    case sendRARP = 19
    case setMTU = 20
    case setBackendChannel = 21
    case iotlbMessage = 22
    case setVringEndian = 23
    case getConfig = 24
    case setConfig = 25
    case createCryptoSession = 26
    case closeCryptoSession = 27
    case postcopyAdvise = 28
    case postcopyListen = 29
    case postcopyEnd = 30
    case getInflightDescriptor = 31
    case setInflightDescriptor = 32
    case setGPUSocket = 33
    case resetDevice = 34
    case vringKick = 35
    case getMemorySlotCount = 36
    case addMemoryRegion = 37
    case removeMemoryRegion = 38
    case setStatus = 39
    case getStatus = 40
    case getSharedObject = 41
    case setDeviceStateDescriptor = 42
    case checkDeviceState = 43
    case getSharedMemoryConfig = 44
    case crosvmSleep = 1000
    case crosvmWake = 1001
    case crosvmSnapshot = 1002
    case crosvmRestore = 1003
    case crosvmGetSharedMemoryRegions = 1004

    /// The name the specification gives the message, without its VHOST_USER_ prefix.
    public var name: String {
        switch self {
        case .getFeatures: "GET_FEATURES"
        case .setFeatures: "SET_FEATURES"
        case .setOwner: "SET_OWNER"
        case .resetOwner: "RESET_OWNER"
        case .setMemoryTable: "SET_MEM_TABLE"
        case .setLogBase: "SET_LOG_BASE"
        case .setLogDescriptor: "SET_LOG_FD"
        case .setVringSize: "SET_VRING_NUM"
        case .setVringAddress: "SET_VRING_ADDR"
        case .setVringBase: "SET_VRING_BASE"
        case .getVringBase: "GET_VRING_BASE"
        case .setVringKick: "SET_VRING_KICK"
        case .setVringCall: "SET_VRING_CALL"
        case .setVringError: "SET_VRING_ERR"
        case .getProtocolFeatures: "GET_PROTOCOL_FEATURES"
        case .setProtocolFeatures: "SET_PROTOCOL_FEATURES"
        case .getQueueCount: "GET_QUEUE_NUM"
        case .setVringEnable: "SET_VRING_ENABLE"
        case .sendRARP: "SEND_RARP"
        case .setMTU: "NET_SET_MTU"
        case .setBackendChannel: "SET_BACKEND_REQ_FD"
        case .iotlbMessage: "IOTLB_MSG"
        case .setVringEndian: "SET_VRING_ENDIAN"
        case .getConfig: "GET_CONFIG"
        case .setConfig: "SET_CONFIG"
        case .createCryptoSession: "CREATE_CRYPTO_SESSION"
        case .closeCryptoSession: "CLOSE_CRYPTO_SESSION"
        case .postcopyAdvise: "POSTCOPY_ADVISE"
        case .postcopyListen: "POSTCOPY_LISTEN"
        case .postcopyEnd: "POSTCOPY_END"
        case .getInflightDescriptor: "GET_INFLIGHT_FD"
        case .setInflightDescriptor: "SET_INFLIGHT_FD"
        case .setGPUSocket: "GPU_SET_SOCKET"
        case .resetDevice: "RESET_DEVICE"
        case .vringKick: "VRING_KICK"
        case .getMemorySlotCount: "GET_MAX_MEM_SLOTS"
        case .addMemoryRegion: "ADD_MEM_REG"
        case .removeMemoryRegion: "REM_MEM_REG"
        case .setStatus: "SET_STATUS"
        case .getStatus: "GET_STATUS"
        case .getSharedObject: "GET_SHARED_OBJECT"
        case .setDeviceStateDescriptor: "SET_DEVICE_STATE_FD"
        case .checkDeviceState: "CHECK_DEVICE_STATE"
        case .getSharedMemoryConfig: "GET_SHMEM_CONFIG"
        case .crosvmSleep: "SLEEP"
        case .crosvmWake: "WAKE"
        case .crosvmSnapshot: "SNAPSHOT"
        case .crosvmRestore: "RESTORE"
        case .crosvmGetSharedMemoryRegions: "GET_SHARED_MEMORY_REGIONS"
        }
    }

    /// How a message with this id is called in a log: its name, or its number where it has none.
    public static func describe(_ identifier: UInt32) -> String {
        FrontendRequest(rawValue: identifier)?.name ?? "message \(identifier)"
    }
}
