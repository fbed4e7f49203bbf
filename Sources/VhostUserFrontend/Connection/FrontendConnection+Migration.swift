public import LinuxSystem
public import VhostUser
import Virtio

/// What a front-end sends when its virtual machine migrates (vhost-user specification, "Migration").
extension FrontendConnection {
    /// SET_LOG_BASE: gives the back-end a dirty log, or another in place of the one before. After the call it uses no earlier one.
    ///
    /// - Throws: ``FrontendError``: `.refused` with the back-end's reason code, `.notOffered` without LOG_SHMFD.
    public func setLog(_ log: DirtyBitmap) throws(FrontendError) {
        try setLog(LogDescription(size: log.byteCount, offset: log.offset), file: log.file)
    }

    /// SET_LOG_BASE with any numbers and any descriptor.
    public func setLog(_ description: LogDescription, file: FileDescriptor) throws(FrontendError) {
        guard protocolFeatures.contains(.logSharedMemory) else {
            throw FrontendError(.notOffered, "LOG_SHMFD is not negotiated: the back-end keeps no dirty log")
        }
        try send(Message(.setLogBase, .log(description), descriptors: [file]))
        let reply = try receiveReply(to: .setLogBase)
        // What the answer carries is not specified: nothing, the request's payload, or a u64 of which 0 is success.
        if case .u64(let value)? = try? reply.decode(.u64), value != 0 {
            throw FrontendError(.refused, "the back-end refused SET_LOG_BASE with \(value)")
        }
    }

    /// SET_LOG_FD: an eventfd that the back-end signals when it has set bits.
    public func setLogNotifier(_ descriptor: FileDescriptor) throws(FrontendError) {
        try tell(.setLogDescriptor, descriptors: [descriptor])
    }

    /// SET_DEVICE_STATE_FD with any numbers and any descriptor.
    ///
    /// - Throws: ``FrontendError`` of kind `.refused` with the answer's low 8 bits.
    public func setDeviceState(_ transfer: DeviceStateTransfer, channel: FileDescriptor) throws(FrontendError) {
        let answer = try ask(.setDeviceStateDescriptor, .deviceState(transfer), descriptors: [channel])
        guard case .u64(let value) = answer.payload else { preconditionFailure("the shape says u64") }
        if value & 0xff != 0 { throw FrontendError(.refused, "the back-end refused SET_DEVICE_STATE_FD with \(value & 0xff)") }
        guard value & 1 << 8 != 0, answer.descriptors.isEmpty else {
            throw FrontendError(
                .protocolViolation, "the back-end answered SET_DEVICE_STATE_FD with a channel of its own, which is not supported")
        }
    }

    /// CHECK_DEVICE_STATE: whether the transfer went well; waits for its end.
    public func checkDeviceState() throws(FrontendError) {
        let value = try askNumber(.checkDeviceState)
        if value != 0 { throw FrontendError(.refused, "the back-end says that the device state's transfer failed, with \(value)") }
    }

    /// Takes the device's state (SET_DEVICE_STATE_FD, reading to the end, CHECK_DEVICE_STATE); the rings have to be stopped.
    public func saveDeviceState() throws(FrontendError) -> [UInt8] {
        let channel = try offerChannel(DeviceStateTransfer(direction: 0, phase: 0))
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = try onChannel(channel, .readable) { () throws(SystemError) in
                var span = chunk.mutableSpan
                // The buffer lives for the call only, and the channel writes no more than its size.
                return try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in try unsafe channel.read(into: buffer) }
            }
            if count == 0 { break }
            bytes += chunk.prefix(count)
        }
        try checkDeviceState()
        return bytes
    }

    /// Gives a device the state that another had; the rings have to be stopped.
    ///
    /// - Throws: ``FrontendError`` of kind `.refused` when the back-end cannot use it.
    public func loadDeviceState(_ bytes: [UInt8]) throws(FrontendError) {
        try sendState(bytes, try offerChannel(DeviceStateTransfer(direction: 1, phase: 0)))
        try checkDeviceState()
    }

    /// Sends everything, and ends the stream.
    private func sendState(_ bytes: [UInt8], _ channel: FileDescriptor) throws(FrontendError) {
        var position = 0
        while position < bytes.count {
            let count = try onChannel(channel, .writable) { () throws(SystemError) in
                // The bytes are only read, during the call. A socket is no pipe: its end raises no signal.
                try unsafe bytes.span.extracting(droppingFirst: position).withUnsafeBytes { buffer throws(SystemError) in
                    try unsafe UnixSocket.send(channel, buffer, descriptors: [])
                }
            }
            position += count
        }
        UnixSocket.shutdown(channel)
    }

    /// Makes a channel, gives the back-end one end, and returns the other.
    private func offerChannel(_ transfer: DeviceStateTransfer) throws(FrontendError) -> FileDescriptor {
        let (own, other): (FileDescriptor, FileDescriptor)
        do { (own, other) = try UnixSocket.pair() } catch { throw FrontendError(.system, "\(error)") }
        try setDeviceState(transfer, channel: other)
        return own
    }

    /// Repeats `body` until it does something, within the time that answers have.
    private func onChannel(
        _ channel: FileDescriptor, _ event: FileDescriptor.WaitEvent, _ body: () throws(SystemError) -> Int?
    ) throws(FrontendError) -> Int {
        let limit = deadline
        do throws(SystemError) {
            while true {
                if let count = try body() { return count }
                let now = MonotonicClock.now()
                guard now < limit, try channel.wait(for: event, nanoseconds: limit - now) else { break }
            }
        } catch {
            throw FrontendError(.disconnected, "the device state's channel broke: \(error)")
        }
        throw FrontendError(.timedOut, "the device state did not move within \(timeoutNanoseconds / 1_000_000) ms")
    }

    /// SET_FEATURES with the features in force, and VHOST_F_LOG_ALL with them or not.
    public func setLogging(_ isOn: Bool) throws(FrontendError) {
        let wanted = isOn ? features.union(.logAll) : features.subtracting(.logAll)
        try tell(.setFeatures, .u64(wanted.rawValue))
        features = wanted
    }
}

extension BlockDriver {
    /// Has the back-end log what it writes, in QEMU's order: the log, the feature bit, then each ring's own flag.
    ///
    /// - Throws: ``FrontendError`` when the back-end does not offer it, or refuses.
    public func startLogging(into log: DirtyBitmap) throws(FrontendError) {
        try connection.setLog(log)
        try connection.setLogging(true)
        for (index, endpoint) in endpoints.enumerated() { try connection.setRingAddress(index, endpoint.area, isLogged: true) }
    }

    /// Ends it again, in the same order. After the call no bit is set any more.
    public func stopLogging() throws(FrontendError) {
        try connection.setLogging(false)
        for (index, endpoint) in endpoints.enumerated() { try connection.setRingAddress(index, endpoint.area) }
    }
}
