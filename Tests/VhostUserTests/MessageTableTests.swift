import Testing
import VhostUser

/// The specification's ids and names, typed from its text, against the enumerations.
@Suite struct MessageTableTests {
    static let frontendNames: [UInt32: String] = [
        1: "GET_FEATURES", 2: "SET_FEATURES", 3: "SET_OWNER", 4: "RESET_OWNER", 5: "SET_MEM_TABLE", 6: "SET_LOG_BASE", 7: "SET_LOG_FD",
        8: "SET_VRING_NUM", 9: "SET_VRING_ADDR", 10: "SET_VRING_BASE", 11: "GET_VRING_BASE", 12: "SET_VRING_KICK", 13: "SET_VRING_CALL",
        14: "SET_VRING_ERR", 15: "GET_PROTOCOL_FEATURES", 16: "SET_PROTOCOL_FEATURES", 17: "GET_QUEUE_NUM", 18: "SET_VRING_ENABLE",
        19: "SEND_RARP", 20: "NET_SET_MTU", 21: "SET_BACKEND_REQ_FD", 22: "IOTLB_MSG", 23: "SET_VRING_ENDIAN", 24: "GET_CONFIG",
        25: "SET_CONFIG", 26: "CREATE_CRYPTO_SESSION", 27: "CLOSE_CRYPTO_SESSION", 28: "POSTCOPY_ADVISE", 29: "POSTCOPY_LISTEN",
        30: "POSTCOPY_END", 31: "GET_INFLIGHT_FD", 32: "SET_INFLIGHT_FD", 33: "GPU_SET_SOCKET", 34: "RESET_DEVICE", 35: "VRING_KICK",
        36: "GET_MAX_MEM_SLOTS", 37: "ADD_MEM_REG", 38: "REM_MEM_REG", 39: "SET_STATUS", 40: "GET_STATUS", 41: "GET_SHARED_OBJECT",
        42: "SET_DEVICE_STATE_FD", 43: "CHECK_DEVICE_STATE", 44: "GET_SHMEM_CONFIG",
    ]

    static let backendNames: [UInt32: String] = [
        1: "IOTLB_MSG", 2: "CONFIG_CHANGE_MSG", 3: "VRING_HOST_NOTIFIER_MSG", 4: "VRING_CALL", 5: "VRING_ERR", 6: "SHARED_OBJECT_ADD",
        7: "SHARED_OBJECT_REMOVE", 8: "SHARED_OBJECT_LOOKUP", 9: "SHMEM_MAP", 10: "SHMEM_UNMAP",
    ]

    @Test func frontendRequests() {
        for (identifier, name) in Self.frontendNames {
            #expect(FrontendRequest(rawValue: identifier)?.name == name)
            #expect(FrontendRequest.describe(identifier) == name)
        }
        let crosvm = FrontendRequest.allCases.filter { $0.rawValue > 44 }
        #expect(crosvm.map(\.rawValue) == [1000, 1001, 1002, 1003, 1004])
        #expect(crosvm.map(\.name) == ["SLEEP", "WAKE", "SNAPSHOT", "RESTORE", "GET_SHARED_MEMORY_REGIONS"])
        #expect(FrontendRequest.allCases.count == 44 + 5)
        #expect(FrontendRequest.describe(4711) == "message 4711")
    }

    @Test func backendRequests() {
        #expect(BackendRequest.allCases.count == 10)
        for (identifier, name) in Self.backendNames { #expect(BackendRequest(rawValue: identifier)?.name == name) }
    }

    @Test func protocolFeatureBits() {
        let names = [
            "MQ", "LOG_SHMFD", "RARP", "REPLY_ACK", "MTU", "BACKEND_REQ", "CROSS_ENDIAN", "CRYPTO_SESSION", "PAGEFAULT", "CONFIG",
            "BACKEND_SEND_FD", "HOST_NOTIFIER", "INFLIGHT_SHMFD", "RESET_DEVICE", "INBAND_NOTIFICATIONS", "CONFIGURE_MEM_SLOTS", "STATUS",
            "XEN_MMAP", "SHARED_OBJECT", "DEVICE_STATE", "GET_VRING_BASE_INFLIGHT", "GPA_ADDRESSES", "SHMEM",
        ]
        for (bit, name) in names.enumerated() { #expect(ProtocolFeatures(rawValue: 1 << UInt64(bit)).description == name) }
        #expect(ProtocolFeatures(rawValue: 1 << 63 | 1).bitNames == ["MQ", "bit 63"])
        let constants: [ProtocolFeatures] = [
            .multiQueue, .logSharedMemory, .rarp, .replyAck, .mtu, .backendChannel, .crossEndian, .cryptoSession, .pageFault, .config,
            .backendSendDescriptor, .hostNotifier, .inflightSharedMemory, .resetDevice, .inbandNotifications, .configureMemorySlots,
            .status, .xenMapping, .sharedObject, .deviceState, .getVringBaseInflight, .guestPhysicalAddresses, .sharedMemory,
        ]
        for (bit, constant) in constants.enumerated() { #expect(constant.rawValue == 1 << UInt64(bit)) }
    }

    /// Payload, descriptors, own answer and gate of every message.
    @Test func shapes() {
        let withDescriptors: [FrontendRequest: ClosedRange<Int>] = [
            .setMemoryTable: 1...32, .setLogBase: 1...1, .setLogDescriptor: 1...1, .setVringKick: 0...1, .setVringCall: 0...1,
            .setVringError: 0...1, .setBackendChannel: 1...1, .setInflightDescriptor: 1...1, .setGPUSocket: 1...1,
            .addMemoryRegion: 1...1, .removeMemoryRegion: 0...1, .setDeviceStateDescriptor: 1...1, .crosvmRestore: 0...32,
        ]
        let answered: Set<FrontendRequest> = [
            .getFeatures, .setLogBase, .getVringBase, .getProtocolFeatures, .getQueueCount, .iotlbMessage, .getConfig,
            .createCryptoSession, .postcopyAdvise, .postcopyEnd, .getInflightDescriptor, .getMemorySlotCount, .getStatus,
            .getSharedObject, .setDeviceStateDescriptor, .checkDeviceState, .getSharedMemoryConfig, .crosvmSleep, .crosvmWake,
            .crosvmSnapshot, .crosvmRestore, .crosvmGetSharedMemoryRegions,
        ]
        for request in FrontendRequest.allCases {
            #expect(request.shape.descriptorCount == withDescriptors[request] ?? 0...0, "\(request)")
            #expect((request.shape.answer != .onRequest) == answered.contains(request), "\(request)")
        }
        for request in BackendRequest.allCases {
            #expect((request.shape.answer == .always(.u64)) == (request == .sharedObjectLookup), "\(request)")
            #expect(request.shape.gate != .always, "\(request)")
        }
        #expect(BackendRequest.sharedMemoryMap.shape.descriptorCount == 1...1)
        #expect(BackendRequest.vringCall.shape.payload == .vringState)
    }
}
