public import Virtio

/// What the specification says of a message's form: payload, descriptors, answer, and what has to be negotiated first.
public struct MessageShape: Sendable {
    /// How a message is answered.
    public enum Answer: Equatable, Sendable {
        /// With a u64, 0 for success, if the sender set need_reply and REPLY_ACK is negotiated; otherwise not at all.
        case onRequest
        /// Always, with this payload.
        case always(Payload.Kind)
    }

    /// What makes a message legal.
    public enum Gate: Equatable, Sendable {
        case always
        /// The bit is in GET_PROTOCOL_FEATURES.
        case offered(ProtocolFeatures)
        /// The bit was in GET_PROTOCOL_FEATURES and in SET_PROTOCOL_FEATURES.
        case negotiated(ProtocolFeatures)
        /// The device feature was in SET_FEATURES.
        case feature(VirtioFeatures)
    }

    /// Payload of the request.
    public var payload: Payload.Kind
    /// How many descriptors come with the request.
    public var descriptorCount: ClosedRange<Int>
    /// How it is answered.
    public var answer: Answer
    /// When it is legal.
    public var gate: Gate

    init(_ payload: Payload.Kind, descriptors: ClosedRange<Int> = 0...0, answer: Answer = .onRequest, gate: Gate = .always) {
        self.payload = payload
        self.descriptorCount = descriptors
        self.answer = answer
        self.gate = gate
    }
}

extension FrontendRequest {
    /// The message's form.
    public var shape: MessageShape {
        switch self {
        case .getFeatures, .getProtocolFeatures: MessageShape(.none, answer: .always(.u64))
        case .setFeatures, .setProtocolFeatures: MessageShape(.u64)
        case .setOwner, .resetOwner: MessageShape(.none)
        case .setMemoryTable: MessageShape(.memoryTable, descriptors: 1...MessageLimits.descriptorCountMax)
        case .setVringSize, .setVringBase, .setVringEnable: MessageShape(.vringState)
        case .setVringAddress: MessageShape(.vringAddress)
        case .getVringBase: MessageShape(.vringState, answer: .always(.vringState))
        case .setVringKick, .setVringCall, .setVringError: MessageShape(.vringDescriptor, descriptors: 0...1)
        default: optionalShape
        }
    }

    /// The messages that need a feature bit.
    private var optionalShape: MessageShape {
        switch self {
        // The answer's payload is not specified. A u64 of 0 is what libvhost-user sends, and what front-ends in Rust, which set need_reply
        // and expect an acknowledgement, read.
        case .setLogBase: MessageShape(.log, descriptors: 1...1, answer: .always(.u64), gate: .negotiated(.logSharedMemory))
        case .setLogDescriptor: MessageShape(.none, descriptors: 1...1, gate: .negotiated(.logSharedMemory))
        case .getQueueCount: MessageShape(.none, answer: .always(.u64), gate: .offered(.multiQueue))
        case .setBackendChannel: MessageShape(.none, descriptors: 1...1, gate: .offered(.backendChannel))
        case .iotlbMessage: MessageShape(.iotlb, answer: .always(.u64), gate: .feature(.accessPlatform))
        case .setVringEndian: MessageShape(.vringState, gate: .negotiated(.crossEndian))
        case .getConfig: MessageShape(.config, answer: .always(.config), gate: .negotiated(.config))
        case .setConfig: MessageShape(.config, gate: .negotiated(.config))
        case .postcopyAdvise: MessageShape(.none, answer: .always(.none), gate: .offered(.pageFault))
        case .postcopyListen: MessageShape(.none, gate: .offered(.pageFault))
        case .postcopyEnd: MessageShape(.none, answer: .always(.u64), gate: .offered(.pageFault))
        case .getInflightDescriptor: MessageShape(.inflight, answer: .always(.inflight), gate: .negotiated(.inflightSharedMemory))
        case .setInflightDescriptor: MessageShape(.inflight, descriptors: 1...1, gate: .negotiated(.inflightSharedMemory))
        case .resetDevice: MessageShape(.none, gate: .offered(.resetDevice))
        case .vringKick: MessageShape(.vringState, gate: .negotiated(.inbandNotifications))
        case .getMemorySlotCount: MessageShape(.none, answer: .always(.u64), gate: .negotiated(.configureMemorySlots))
        case .addMemoryRegion: MessageShape(.memoryRegion, descriptors: 1...1, gate: .negotiated(.configureMemorySlots))
        // "the back-end MAY accept messages with one file descriptor [...] MUST close it without using it otherwise"
        case .removeMemoryRegion: MessageShape(.memoryRegion, descriptors: 0...1, gate: .negotiated(.configureMemorySlots))
        case .setStatus: MessageShape(.u64, gate: .negotiated(.status))
        case .getStatus: MessageShape(.none, answer: .always(.u64), gate: .negotiated(.status))
        case .setDeviceStateDescriptor:
            MessageShape(.deviceState, descriptors: 1...1, answer: .always(.u64), gate: .negotiated(.deviceState))
        case .checkDeviceState: MessageShape(.none, answer: .always(.u64), gate: .negotiated(.deviceState))
        case .getSharedMemoryConfig: MessageShape(.none, answer: .always(.sharedMemoryConfig), gate: .negotiated(.sharedMemory))
        default: foreignShape
        }
    }

    /// Other devices' messages, and crosvm's.
    private var foreignShape: MessageShape {
        switch self {
        case .sendRARP: MessageShape(.u64, gate: .negotiated(.rarp))
        case .setMTU: MessageShape(.u64, gate: .negotiated(.mtu))
        case .createCryptoSession: MessageShape(.opaque, answer: .always(.opaque), gate: .negotiated(.cryptoSession))
        case .closeCryptoSession: MessageShape(.u64, gate: .negotiated(.cryptoSession))
        case .getSharedObject: MessageShape(.uuid, answer: .always(.none), gate: .negotiated(.sharedObject))
        case .crosvmRestore: MessageShape(.opaque, descriptors: 0...MessageLimits.descriptorCountMax, answer: .always(.opaque))
        case .crosvmGetSharedMemoryRegions: MessageShape(.none, answer: .always(.u64))
        case .crosvmSleep, .crosvmWake, .crosvmSnapshot: MessageShape(.none, answer: .always(.opaque))
        default: MessageShape(.none, descriptors: 1...1)
        }
    }
}

extension FrontendRequest {
    /// Whether the answer that always comes is an acknowledgement, so that a refusal is answered too.
    var isAlwaysAcknowledged: Bool {
        [.setLogBase, .iotlbMessage, .setDeviceStateDescriptor, .checkDeviceState, .postcopyEnd].contains(self)
    }

    /// The u64 by which such a message is refused.
    func acknowledgement(_ refusal: Refusal) -> UInt64 {
        refusal.code.rawValue | (self == .setDeviceStateDescriptor ? Session.noChannelFlag : 0)
    }
}

extension BackendRequest {
    /// The message's form.
    public var shape: MessageShape {
        switch self {
        case .iotlbMessage: MessageShape(.iotlb, gate: .feature(.accessPlatform))
        case .configChange: MessageShape(.none, gate: .negotiated(.config))
        case .vringHostNotifier: MessageShape(.vringArea, descriptors: 0...1, gate: .negotiated(.hostNotifier))
        case .vringCall, .vringError: MessageShape(.vringState, gate: .negotiated(.inbandNotifications))
        case .sharedObjectAdd, .sharedObjectRemove: MessageShape(.uuid, gate: .negotiated(.sharedObject))
        case .sharedObjectLookup: MessageShape(.uuid, answer: .always(.u64), gate: .negotiated(.sharedObject))
        case .sharedMemoryMap: MessageShape(.sharedMemoryMapping, descriptors: 1...1, gate: .negotiated(.sharedMemory))
        case .sharedMemoryUnmap: MessageShape(.sharedMemoryMapping, gate: .negotiated(.sharedMemory))
        }
    }
}
