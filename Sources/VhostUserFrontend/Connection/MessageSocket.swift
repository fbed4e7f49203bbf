import LinuxSystem
import VhostUser

/// A Unix socket that carries vhost-user messages, read and written with time limits; used by one thread.
final class MessageSocket {
    let descriptor: FileDescriptor
    private let poller: Epoll
    private var received: [UInt8] = []
    private var descriptors: [FileDescriptor] = []
    private var watched: Epoll.Events = []

    init(_ descriptor: FileDescriptor) throws(FrontendError) {
        self.descriptor = descriptor
        do {
            try descriptor.setNonBlocking(true)
            poller = try Epoll()
            try poller.add(descriptor.rawValue, [], token: 0)
        } catch {
            throw FrontendError(.system, "\(error)")
        }
    }

    /// Sends bytes with descriptors beside the first of them.
    func send(_ bytes: [UInt8], _ descriptors: [Int32], until deadline: UInt64) throws(FrontendError) {
        var rest = bytes[...]
        var descriptors = descriptors
        while !rest.isEmpty {
            let sent: Int?
            do {
                // The buffer is only read, during the call.
                sent = try unsafe rest.withUnsafeBytes { buffer throws(SystemError) in
                    try unsafe UnixSocket.send(descriptor, buffer, descriptors: descriptors)
                }
            } catch {
                throw FrontendError(.disconnected, "the back-end closed the connection: \(error)")
            }
            if let sent {
                rest = rest.dropFirst(sent)
                descriptors = []
            } else {
                try wait(.writable, until: deadline, "sending a message")
            }
        }
    }

    /// The next message; nil when none came in time.
    func receive(until deadline: UInt64) throws(FrontendError) -> Message? {
        while true {
            if let message = try frame() { return message }
            let part: UnixSocket.Received?
            do {
                part = try unsafe withUnsafeTemporaryAllocation(byteCount: 8192, alignment: 1) { buffer throws(SystemError) in
                    let part = try unsafe UnixSocket.receive(descriptor, into: buffer)
                    unsafe received.append(contentsOf: buffer.prefix(part?.byteCount ?? 0))
                    return part
                }
            } catch {
                throw FrontendError(.disconnected, "the connection to the back-end broke: \(error)")
            }
            if let part {
                descriptors += part.descriptors
                if part.byteCount == 0 {
                    let reason = received.isEmpty ? "" : " in the middle of a message"
                    throw FrontendError(.disconnected, "the back-end closed the connection\(reason)")
                }
            } else {
                guard try wait(.readable, until: deadline) else { return nil }
            }
        }
    }

    /// Takes a whole message from what was received. Descriptors belong to the message they came with: a peer sends one at a time.
    private func frame() throws(FrontendError) -> Message? {
        guard received.count >= MessageHeader.byteCount else { return nil }
        let header: MessageHeader
        do { header = try MessageHeader(decoding: received.prefix(MessageHeader.byteCount)) } catch {
            throw FrontendError(.protocolViolation, "\(error)")
        }
        guard header.size <= 1 << 20 else {
            throw FrontendError(.protocolViolation, "the back-end sent a message of \(header.size) bytes")
        }
        let total = MessageHeader.byteCount + Int(header.size)
        guard received.count >= total else { return nil }
        let payload = Array(received[MessageHeader.byteCount..<total])
        received.removeFirst(total)
        let message = Message(request: header.request, flags: header.flags, payload: payload, descriptors: descriptors)
        descriptors = []
        return message
    }

    private func wait(_ events: Epoll.Events, until deadline: UInt64, _ what: String) throws(FrontendError) {
        guard try wait(events, until: deadline) else {
            throw FrontendError(.timedOut, "the back-end took nothing while \(what)")
        }
    }

    private func wait(_ events: Epoll.Events, until deadline: UInt64) throws(FrontendError) -> Bool {
        if events != watched {
            do { try poller.modify(descriptor.rawValue, events, token: 0) } catch { throw FrontendError(.system, "\(error)") }
            watched = events
        }
        while true {
            let now = MonotonicClock.now()
            if now >= deadline { return false }
            let count = unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
                unsafe poller.wait(into: ready, timeoutNanoseconds: Int64(clamping: deadline - now))
            }
            if count > 0 { return true }
        }
    }
}
