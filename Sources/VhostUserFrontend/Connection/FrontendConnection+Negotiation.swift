public import LinuxSystem
public import VhostUser
public import Virtio

/// Features, ownership, configuration, status.
extension FrontendConnection {
    /// The opening of every front-end: features offered, protocol features (those of `wanted` that are offered), owner.
    /// SET_FEATURES is left to `acknowledge`, as front-ends do it when the driver has made up its mind.
    public func open(protocolFeatures wanted: ProtocolFeatures = .frontendDefault) throws(FrontendError) {
        offeredFeatures = VirtioFeatures(rawValue: try askNumber(.getFeatures))
        if offeredFeatures.contains(.protocolFeatures) {
            offeredProtocolFeatures = ProtocolFeatures(rawValue: try askNumber(.getProtocolFeatures))
            let chosen = offeredProtocolFeatures.intersection(wanted)
            // Sent before REPLY_ACK is in force on this side: QEMU does not ask for an answer to it either.
            try send(Message(.setProtocolFeatures, .u64(chosen.rawValue)))
            protocolFeatures = chosen
        }
        try tell(.setOwner)
    }

    /// SET_FEATURES with what is both offered and wanted.
    public func acknowledge(_ wanted: VirtioFeatures) throws(FrontendError) {
        features = offeredFeatures.intersection(wanted.union(.protocolFeatures))
        try tell(.setFeatures, .u64(features.rawValue))
    }

    /// GET_QUEUE_NUM; 1 when MQ is not negotiated.
    public func queueCountMax() throws(FrontendError) -> Int {
        protocolFeatures.contains(.multiQueue) ? Int(clamping: try askNumber(.getQueueCount)) : 1
    }

    /// GET_CONFIG; nil when the back-end refuses (an answer of size 0).
    public func readConfig(offset: Int = 0, size: Int) throws(FrontendError) -> [UInt8]? {
        let access = ConfigAccess(offset: UInt32(offset), size: UInt32(size), bytes: [UInt8](repeating: 0, count: size))
        try send(Message(.getConfig, .config(access)))
        let reply = try receiveReply(to: .getConfig)
        // Back-ends tell an error by an answer without payload, or by the three fields alone with size 0.
        guard case .config(let answer)? = try? reply.decode(.config) else {
            if reply.payload.isEmpty { return nil }
            throw FrontendError(.protocolViolation, "the back-end's answer to GET_CONFIG has \(reply.payload.count) bytes")
        }
        if answer.size == 0 { return nil }
        guard answer.bytes.count == size, Int(answer.size) == size else {
            throw FrontendError(
                .protocolViolation, "the back-end answered \(answer.bytes.count) bytes of config space to a request of \(size)")
        }
        return answer.bytes
    }

    /// SET_CONFIG.
    public func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool = false) throws(FrontendError) {
        let flags = isMigration ? ConfigAccess.migrationFlag : 0
        try tell(.setConfig, .config(ConfigAccess(offset: UInt32(offset), size: UInt32(bytes.count), flags: flags, bytes: bytes)))
    }

    /// The device's config space, as much of it as the back-end has: newer fields are asked for first.
    public func readBlockConfig() throws(FrontendError) -> BlockConfig {
        guard protocolFeatures.contains(.config) else {
            throw FrontendError(.notOffered, "the back-end does not offer CONFIG: its capacity cannot be read")
        }
        for size in BlockConfig.knownSizes {
            if let bytes = try readConfig(size: size) { return BlockConfig(bytes) }
        }
        throw FrontendError(.refused, "the back-end refuses to show its config space")
    }

    /// SET_STATUS.
    public func setStatus(_ status: UInt8) throws(FrontendError) { try tell(.setStatus, .u64(UInt64(status))) }

    /// GET_STATUS.
    public func status() throws(FrontendError) -> UInt8 { UInt8(truncatingIfNeeded: try askNumber(.getStatus)) }

    /// RESET_DEVICE.
    public func resetDevice() throws(FrontendError) { try tell(.resetDevice) }

    /// RESET_OWNER: disables all rings.
    public func resetOwner() throws(FrontendError) { try tell(.resetOwner) }

    /// GET_SHMEM_CONFIG: the sizes of the device's shared memory regions, 0 for those it does not have.
    public func sharedMemoryConfig() throws(FrontendError) -> SharedMemoryConfig {
        guard case .sharedMemoryConfig(let config) = try ask(.getSharedMemoryConfig).payload else {
            preconditionFailure("the shape says what the answer is")
        }
        return config
    }

    /// Opens the back-end channel (SET_BACKEND_REQ_FD).
    public func openBackendChannel() throws(FrontendError) -> BackendChannel {
        let (own, other): (FileDescriptor, FileDescriptor)
        do { (own, other) = try UnixSocket.pair() } catch { throw FrontendError(.system, "\(error)") }
        try tell(.setBackendChannel, descriptors: [other])
        return BackendChannel(try MessageSocket(own))
    }
}

extension ProtocolFeatures {
    /// What `FrontendConnection.open` asks for by itself: all that needs no further consent of the caller.
    public static let frontendDefault: ProtocolFeatures = [
        .multiQueue, .logSharedMemory, .replyAck, .backendChannel, .config, .inflightSharedMemory, .resetDevice, .configureMemorySlots,
    ]
}

/// The channel over which a back-end sends requests of its own; used by one thread.
public final class BackendChannel {
    private let socket: MessageSocket

    init(_ socket: MessageSocket) { self.socket = socket }

    /// The next request; nil when none came in time. With need_reply the caller owes `reply`.
    public func receive(timeoutNanoseconds: UInt64) throws(FrontendError) -> Message? {
        try socket.receive(until: MonotonicClock.now() &+ timeoutNanoseconds)
    }

    /// The next request, read; nil when none came in time. `message` is what to give `reply`, which it owes if `needsReply`.
    ///
    /// - Throws: ``FrontendError`` of kind `.protocolViolation` for an id that no request has, or a payload of another form.
    public func receiveRequest(
        timeoutNanoseconds: UInt64
    ) throws(FrontendError) -> (request: BackendRequest, payload: Payload, message: Message)? {
        guard let message = try receive(timeoutNanoseconds: timeoutNanoseconds) else { return nil }
        guard let request = BackendRequest(rawValue: message.request), !message.isReply else {
            throw FrontendError(.protocolViolation, "the back-end sent message \(message.request), which is no request of a back-end")
        }
        do {
            return (request, try message.decode(request.shape.payload), message)
        } catch {
            throw FrontendError(.protocolViolation, "the back-end's \(request.name) is malformed: \(error)")
        }
    }

    /// Answers a request, 0 for success.
    public func reply(to message: Message, _ value: UInt64 = 0) throws(FrontendError) {
        try socket.send(message.reply(.u64(value)).encoded, [], until: MonotonicClock.now() &+ 5_000_000_000)
    }

    /// The socket, to be watched; do not read from it.
    public var descriptor: FileDescriptor { socket.descriptor }

    /// Closes the front-end's end.
    public func close() { UnixSocket.shutdown(socket.descriptor) }
}
