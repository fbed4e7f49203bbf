internal import LinuxSystem

/// The listening socket of an export.
@ControlActor
final class ExportListener {
    /// How long no connection is taken after one could not be: without a free descriptor the next attempt would fail at once, and for ever.
    static let retryNanoseconds: UInt64 = 100_000_000

    private let socket: FileDescriptor
    private let onConnection: @ControlActor (FileDescriptor) -> Void
    private let onTrouble: @ControlActor (SystemError) -> Void
    private var registration: Registration?
    private var isInTrouble = false
    private var pausedUntil: UInt64 = 0
    private var pauseEnd: TimerRegistration?
    /// The socket file to remove in the end, or nil when the socket was inherited.
    private let path: String?

    /// Makes the socket; a socket file that nobody listens on is replaced, anything else in its place is refused. `onTrouble` is told when
    /// connections cannot be taken, once until they can.
    convenience init(
        path: String, mode: UInt32, group: String?, onConnection: @escaping @ControlActor (FileDescriptor) -> Void,
        onTrouble: @escaping @ControlActor (SystemError) -> Void
    ) throws(ExportError) {
        do {
            let socket = try UnixSocket.listen(path: path, mode: mode, group: group)
            try self.init(socket, path: path, onConnection, onTrouble)
        } catch let error as UnixListenerError {
            throw Self.refusal(of: error, path: path)
        } catch {
            throw ExportError(kind: .system, field: "socket", message: "cannot listen on \(path): \(error)", hint: "try again")
        }
    }

    /// Takes over a socket that listens already.
    convenience init(
        adopting socket: FileDescriptor, onConnection: @escaping @ControlActor (FileDescriptor) -> Void,
        onTrouble: @escaping @ControlActor (SystemError) -> Void
    ) throws(SystemError) {
        try socket.setNonBlocking(true)
        try self.init(socket, path: nil, onConnection, onTrouble)
    }

    private init(
        _ socket: FileDescriptor, path: String?, _ onConnection: @escaping @ControlActor (FileDescriptor) -> Void,
        _ onTrouble: @escaping @ControlActor (SystemError) -> Void
    ) throws(SystemError) {
        self.socket = socket
        self.path = path
        self.onConnection = onConnection
        self.onTrouble = onTrouble
        registration = try EventLoop.control.register(socket, interest: .read) { [weak self] _ in self?.accept() }
    }

    /// One at a time: with more waiting the socket stays readable, and other descriptors get their turn in between.
    private func accept() {
        do throws(SystemError) {
            let connection = try UnixSocket.accept(socket)
            isInTrouble = false
            if let connection { onConnection(connection) }
        } catch {
            pause(nanoseconds: Self.retryNanoseconds)
            if !isInTrouble { onTrouble(error) }
            isInTrouble = true
        }
    }

    /// Takes no connection for so long; who connects meanwhile waits. A longer pause stays.
    func pause(nanoseconds: UInt64) {
        pausedUntil = max(pausedUntil, MonotonicClock.now() &+ nanoseconds)
        pauseEnd?.cancel()
        // It cannot fail: the descriptor is watched. Were it to, connections would be taken as before.
        try? registration?.setInterest([])
        pauseEnd = EventLoop.control.after(nanoseconds: pausedUntil &- MonotonicClock.now()) { [weak self] in
            try? self?.registration?.setInterest(.read)
        }
    }

    /// Stops listening and removes the socket file.
    func close() {
        registration?.cancel()
        registration = nil
        pauseEnd?.cancel()
        if let path { UnixSocket.removeSocketFile(path: path) }
    }

    private static func refusal(of error: UnixListenerError, path: String) -> ExportError {
        switch error {
        case .pathTooLong:
            ExportError(kind: .invalid, field: "socket", message: error.description, hint: "choose a shorter path")
        case .notASocket:
            ExportError(kind: .exists, field: "socket", message: error.description, hint: "choose another path, or move it away")
        case .inUse:
            ExportError(kind: .busy, field: "socket", message: error.description, hint: "stop that process, or choose another path")
        case .unknownGroup:
            ExportError(kind: .invalid, field: "socketGroup", message: error.description, hint: "create the group, or name another")
        case .system:
            ExportError(
                kind: .system, field: "socket", message: "cannot listen on \(path): \(error)",
                hint: "the folder must exist and be writable for the user that the daemon runs as")
        }
    }
}
