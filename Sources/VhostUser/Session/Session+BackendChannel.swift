import LinuxSystem

/// What a session knows of the back-end channel (SET_BACKEND_REQ_FD).
struct BackendChannel {
    var isOpen = false
    /// The config space changed, and the front-end has not been told.
    var configChangeIsDue = false
    /// Requests the front-end has yet to answer, oldest first.
    var unanswered: [BackendRequest] = []
}

extension Session {
    func setBackendChannel(_ descriptor: FileDescriptor) throws(Refusal) {
        try host.checkSocket(descriptor)
        channel.isOpen = true
        channel.unanswered = []
        emit(.backendChannel(descriptor))
        flushConfigChange()
        flushCalls()
        askAgain()
        acknowledge()
    }

    /// The config space is another (a resize, for example): the front-end is told as soon as it may be.
    public func configDidChange() {
        channel.configChangeIsDue = true
        flushConfigChange()
    }

    /// "While all vrings are stopped, the device [...] must not send any messages to the front-end." One change that was told and not yet
    /// answered stands for all that follow, up to the limit; the last one is told in any case.
    func flushConfigChange() {
        guard channel.configChangeIsDue, channel.isOpen, protocolFeatures.isSuperset(of: [.backendChannel, .config]) else { return }
        guard rings.contains(where: { $0.activity == .running }) else { return }
        if sendBackendRequest(.configChange, .none) { channel.configChangeIsDue = false }
    }

    /// Sends a request over the back-end channel, with need_reply where that is negotiated. False when too many are unanswered.
    func sendBackendRequest(_ request: BackendRequest, _ payload: Payload) -> Bool {
        let wantsReply = protocolFeatures.contains(.replyAck)
        if wantsReply {
            guard channel.unanswered.count < limits.unansweredRequestCountMax else { return false }
            channel.unanswered.append(request)
        }
        emit(.backendRequest(Message(request, payload, needReply: wantsReply)))
        return true
    }

    /// An answer came over the back-end channel. Answers come in the order of the requests; one that nobody waits for is ignored.
    public func receiveOnBackendChannel(_ message: Message) {
        let request = BackendRequest(rawValue: message.request)
        if request == .iotlbMessage {
            guard protocolFeatures.contains(.replyAck), case .u64(let value)? = try? message.decode(.u64) else { return }
            return missWasAnswered(value)
        }
        guard let request, let index = channel.unanswered.firstIndex(of: request) else { return }
        channel.unanswered.remove(at: index)
        if case .u64(let value)? = try? message.decode(.u64), value != 0 {
            emit(.notice(SessionNotice(.info, "the front-end answered \(request.name) with \(value)")))
        }
        flushConfigChange()
        flushCalls()
    }

    /// The back-end channel is gone; the session goes on without it.
    public func backendChannelDidClose() {
        channel.isOpen = false
        channel.unanswered = []
        iotlb.asked = []
    }
}
