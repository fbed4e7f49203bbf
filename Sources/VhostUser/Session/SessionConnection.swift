public import LinuxSystem

/// A session and its two sockets, for whatever event loop there is.
///
/// The owner watches the sockets with level-triggered readiness, as the interest events say, and hands readiness in. Nothing waits: a peer
/// that sends half a message, does not read its answers or sends without end slows down its own session only.
public final class SessionConnection {
    /// What the owner has to do.
    public enum Event {
        /// Watch the main socket for this.
        case interest(read: Bool, write: Bool)
        /// The back-end channel's socket is this one from now on: end the watch of an earlier one and watch this. nil: it is gone.
        case backendSocket(FileDescriptor?)
        /// Watch the back-end channel's socket for this too; reading is always of interest.
        case backendInterest(write: Bool)
        /// Watch this for reading, and say `callDescriptorIsReady` when it is.
        case callDescriptor(ring: Int, FileDescriptor)
        /// A line for the log.
        case notice(SessionNotice)
        /// The connection is over: end the watches and call `disconnect`.
        case closed(StreamError)
    }

    /// Messages handled for one readiness, so that a front-end that floods us does not keep the thread.
    private static let burst = 32

    /// The session; its state may be read, and `configDidChange` and `ringDidBreak` called.
    public private(set) var session: Session!
    private let connection: MessageConnection
    private var backendConnection: MessageConnection?
    private let onEvent: (Event) -> Void
    private var toldInterest: (read: Bool, write: Bool) = (true, false)
    private var toldBackendWrite = false
    private var isClosed = false
    /// Readiness is being handled: interest is told at its end, not at each step.
    private var isBusy = false
    private let closing: ClosingQueue?
    private var saidClosingIsSlow = false

    /// Takes over a connected, non-blocking socket. Watch it for reading from now on. `closing` closes the descriptors that come over it; while
    /// it is full no message is read.
    public init(
        _ socket: FileDescriptor, device: any SessionDevice, host: any SessionHost = LinuxSessionHost(),
        limits: SessionLimits = SessionLimits(), closing: ClosingQueue? = nil, onEvent: @escaping (Event) -> Void
    ) {
        connection = MessageConnection(socket, receiving: .requests, closing: closing)
        self.closing = closing
        self.onEvent = onEvent
        session = Session(device: device, host: host, limits: limits) { [weak self] output in self?.handle(output) }
    }

    /// The main socket.
    public var socket: FileDescriptor { connection.socket }

    /// The main socket is ready.
    public func mainSocketIsReady(canRead: Bool, canWrite: Bool, isHungUp: Bool) {
        guard !isClosed else { return }
        isBusy = true
        do throws(StreamError) {
            if canWrite { try connection.flush() }
            if canRead { try receiveBurst() }
        } catch {
            close(error)
        }
        isBusy = false
        guard !isClosed else { return }
        // While nothing is read the end would not be seen.
        if isHungUp, !wantsRead {
            close(.closed(insideMessage: false))
            return
        }
        tellInterest()
    }

    private func receiveBurst() throws(StreamError) {
        for _ in 0..<Self.burst {
            guard !isClosed, wantsRead, let message = try connection.receive() else { return }
            session.receive(message)
        }
    }

    /// The back-end channel's socket is ready.
    public func backendSocketIsReady(canRead: Bool, canWrite: Bool) {
        guard !isClosed, let backend = backendConnection else { return }
        do throws(StreamError) {
            if canWrite { try backend.flush() }
            if canRead {
                for _ in 0..<Self.burst {
                    guard let message = try backend.receive() else { break }
                    session.receiveOnBackendChannel(message)
                }
            }
            tellInterest()
        } catch {
            closeBackend(error)
        }
    }

    /// There is room again in the queue that closes descriptors.
    public func closingHasRoom() { tellInterest() }

    /// The data path signalled a ring's call descriptor of a `callDescriptor` event.
    public func callDescriptorIsReady(_ ring: Int) {
        guard !isClosed else { return }
        session.callWasSignalled(ring)
    }

    /// Ends the session: the sockets are closed and rings that run are stopped. At the completion the device is free.
    public func disconnect(completion: @escaping () -> Void) {
        isClosed = true
        backendConnection = nil
        session.disconnect { [self] in
            withExtendedLifetime(self) {}
            completion()
        }
    }

    private func handle(_ output: SessionOutput) {
        switch output {
        case .reply(let message):
            do throws(StreamError) {
                try connection.send(message)
            } catch {
                close(error)
            }
            // Whether to read on is told by `ready`, which follows.
            if connection.hasOutgoing { tellInterest() }
        case .ready: tellInterest()
        case .backendChannel(let socket):
            // What is sent there is asked for without a descriptor, and answered without.
            backendConnection = MessageConnection(socket, receiving: .replies, closing: closing, takesDescriptors: false)
            toldBackendWrite = false
            onEvent(.backendSocket(socket))
        case .backendRequest(let message):
            do throws(StreamError) {
                try backendConnection?.send(message)
            } catch {
                closeBackend(error)
            }
            tellInterest()
        case .inbandCall(let ring, let descriptor): onEvent(.callDescriptor(ring: ring, descriptor))
        case .notice(let notice): onEvent(.notice(notice))
        case .close(let error): close(error)
        }
    }

    /// No further request is read while an answer is pending, while the peer does not take those it has, or while too many of its descriptors
    /// wait to be closed.
    private var wantsRead: Bool { session.isReady && !connection.hasOutgoing && !isClosingFull }

    private var isClosingFull: Bool { closing?.isFull ?? false }

    private func tellInterest() {
        guard !isClosed, !isBusy else { return }
        if isClosingFull, !saidClosingIsSlow {
            saidClosingIsSlow = true
            let count = ClosingQueue.countMax
            onEvent(
                .notice(SessionNotice(.warning, "\(count) descriptors of the front-end's wait to be closed; no message is read meanwhile")))
        }
        let wanted = (read: wantsRead, write: connection.hasOutgoing)
        if wanted != toldInterest {
            toldInterest = wanted
            onEvent(.interest(read: wanted.read, write: wanted.write))
        }
        if let backend = backendConnection, backend.hasOutgoing != toldBackendWrite {
            toldBackendWrite = backend.hasOutgoing
            onEvent(.backendInterest(write: toldBackendWrite))
        }
    }

    private func close(_ error: StreamError) {
        guard !isClosed else { return }
        isClosed = true
        onEvent(.closed(error))
    }

    private func closeBackend(_ error: StreamError) {
        backendConnection = nil
        session.backendChannelDidClose()
        onEvent(.notice(SessionNotice(.info, "the back-end channel is closed: \(error)")))
        onEvent(.backendSocket(nil))
    }
}
