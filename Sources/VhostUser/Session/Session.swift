import LinuxSystem
public import Virtio

/// One front-end connection as a state machine: messages go in, outputs come out, and in between a device is asked.
///
/// It does no I/O and knows no thread: everything is called on one thread, the owner's. Messages are answered in the order they came. While
/// an answer is pending because the device takes its time, `isReady` is false and later messages wait; other sessions are not concerned.
public final class Session {
    /// The protocol features this implementation serves; a device may offer fewer.
    public static let servedProtocolFeatures: ProtocolFeatures = [
        .multiQueue, .logSharedMemory, .replyAck, .backendChannel, .config, .inflightSharedMemory, .resetDevice, .configureMemorySlots,
        .status, .deviceState, .getVringBaseInflight, .pageFault,
        .backendSendDescriptor, .inbandNotifications, .guestPhysicalAddresses, .sharedMemory,
    ]

    let device: any SessionDevice
    let host: any SessionHost
    /// The limits it was made with.
    public let limits: SessionLimits
    private let output: (SessionOutput) -> Void

    /// SET_OWNER came.
    public internal(set) var isOwned = false
    /// The device features in force, without VHOST_USER_F_PROTOCOL_FEATURES.
    public internal(set) var features: VirtioFeatures = []
    var featuresAreSet = false
    /// The protocol features in force.
    public internal(set) var protocolFeatures: ProtocolFeatures = []
    /// The virtio device status.
    public internal(set) var deviceStatus: UInt8 = 0
    var rings: [Ring]
    var memoryTable = MemoryTable()
    var inflight: InflightRegion?
    var logging = SessionLog()
    var stateTransfer = SessionStateTransfer()
    var channel = BackendChannel()
    var iotlb = SessionIOTLB()
    var postcopy = SessionPostcopy()
    /// Between crosvm's SLEEP and WAKE.
    var isAsleep = false

    /// The message whose answer is pending.
    private var pending: Message?
    private var waiting: [Message] = []
    private var isDraining = false
    private var wasBusy = false
    private(set) var isClosed = false
    /// The messages, and with the highest bit set the rings, that were warned of.
    private var noticed: Set<UInt32> = []

    /// A session with `device`, at its beginning.
    public init(
        device: any SessionDevice, host: any SessionHost = LinuxSessionHost(), limits: SessionLimits = SessionLimits(),
        output: @escaping (SessionOutput) -> Void
    ) {
        precondition((1...256).contains(device.queueCount), "a vhost-user device has 1 to 256 rings")
        self.device = device
        self.host = host
        self.limits = limits
        self.output = output
        rings = Array(repeating: Ring(), count: device.queueCount)
    }

    /// Whether the next message would be handled at once. While it is false do not read from the connection, only watch for its end.
    public var isReady: Bool { pending == nil && waiting.isEmpty && !isClosed }

    /// Handles a message of the main connection, or lets it wait for its turn.
    public func receive(_ message: Message) {
        guard !isClosed else { return }
        if waiting.count >= limits.waitingMessageCountMax {
            fail(.tooManyMessages)
            return
        }
        waiting.append(message)
        drain()
    }

    /// The connection is gone: messages that wait are dropped, rings that run are stopped. At the completion nothing of this session is in
    /// use any more and the device is free for the next one. Nothing is put out after this call.
    public func disconnect(completion: @escaping () -> Void) {
        isClosed = true
        pending = nil
        waiting = []
        device.cancelStateTransfer()
        // First of all: rings may wait for pages, and those that never came must not be taken for zeroes.
        if postcopy.isListening { postcopy.awaited?.withdraw() }
        stopRings(.drain) { [self] in
            rings = Array(repeating: Ring(), count: rings.count)
            memoryTable = MemoryTable()
            inflight = nil
            logging = SessionLog()
            iotlb = SessionIOTLB()
            postcopy = SessionPostcopy()
            stateTransfer = SessionStateTransfer()
            channel = BackendChannel()
            completion()
        }
    }

    /// After the end nothing is put out, whatever still completes or is called.
    func emit(_ value: SessionOutput) {
        if !isClosed { output(value) }
    }

    /// The stream is not to be trusted: nothing more is handled; the owner drops the connection.
    func fail(_ error: StreamError) {
        guard !isClosed else { return }
        output(.close(error))
        isClosed = true
        pending = nil
        waiting = []
    }

    // MARK: One message at a time

    private func drain() {
        guard !isDraining else { return }
        isDraining = true
        while pending == nil, !waiting.isEmpty { handle(waiting.removeFirst()) }
        isDraining = false
        if pending != nil {
            wasBusy = true
        } else if wasBusy {
            wasBusy = false
            emit(.ready)
        }
    }

    private func handle(_ message: Message) {
        pending = message
        do throws(Refusal) {
            if try takeAcknowledgement(message) { return }
            guard let request = FrontendRequest(rawValue: message.request) else {
                throw Refusal(.unsupported, "no such message")
            }
            let payload = try check(message, as: request)
            try perform(request, payload, message.descriptors)
        } catch {
            refuse(error)
        }
    }

    /// Ends the pending message well. Handlers call one of the three enders exactly once, at once or from a completion.
    func acknowledge() {
        guard let message = pending else { return }
        if message.needsReply, protocolFeatures.contains(.replyAck) { emit(.reply(message.reply(.u64(0)))) }
        finish()
    }

    /// Ends the pending message with the answer that is its own.
    func answer(_ payload: Payload, descriptors: [FileDescriptor] = []) {
        guard let message = pending else { return }
        emit(.reply(message.reply(payload, descriptors: descriptors)))
        finish()
    }

    /// Ends the pending message with a refusal: an answer where one is wanted, a line in the log the first time.
    func refuse(_ refusal: Refusal) {
        guard let message = pending else { return }
        warnOnce(message.request, "\(FrontendRequest.describe(message.request)) refused: \(refusal)")
        let request = FrontendRequest(rawValue: message.request)
        if let request, isAnswered(request), refusal.code != .notNegotiated {
            // The front-end waits for this answer whether it set need_reply or not.
            emit(.reply(message.reply(.u64(request.acknowledgement(refusal)))))
        } else if message.needsReply, protocolFeatures.contains(.replyAck) {
            emit(.reply(message.reply(.u64(refusal.code.rawValue))))
        } else if request == .postcopyAdvise, refusal.code != .notNegotiated {
            // The front-end waits for a descriptor, and learns that it gets none.
            emit(.reply(message.reply(.none)))
        }
        finish()
    }

    /// Whether the front-end waits for an answer in any case.
    private func isAnswered(_ request: FrontendRequest) -> Bool {
        if request.isAlwaysAcknowledged { return true }
        return postcopy.isListening && [.setMemoryTable, .addMemoryRegion].contains(request)
    }

    /// A front-end can be wrong as often as it likes, and reads about it once for each message and ring.
    func warnOnce(_ key: UInt32, _ text: String) {
        guard noticed.count < limits.noticeCountMax, noticed.insert(key).inserted else { return }
        emit(.notice(SessionNotice(.warning, text)))
        if noticed.count == limits.noticeCountMax {
            emit(.notice(SessionNotice(.warning, "further warnings about this front-end are left out")))
        }
    }

    private func finish() {
        pending = nil
        drain()
    }
}
