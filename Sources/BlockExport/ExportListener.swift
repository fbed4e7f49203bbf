internal import LinuxSystem

/// The listening socket of an export.
@ControlActor
final class ExportListener {
    private let registration: Registration
    /// The socket file to remove in the end, or nil when the socket was inherited.
    private let path: String?

    /// Makes the socket; a socket file that nobody listens on is replaced, anything else in its place is refused.
    init(
        path: String, mode: UInt32, group: String?, onConnection: @escaping @ControlActor (FileDescriptor) -> Void
    ) throws(ExportError) {
        do {
            let socket = try UnixSocket.listen(path: path, mode: mode, group: group)
            registration = try Self.register(socket, onConnection)
            self.path = path
        } catch let error as UnixListenerError {
            throw Self.refusal(of: error, path: path)
        } catch {
            throw ExportError(kind: .system, field: "socket", message: "cannot listen on \(path): \(error)", hint: "try again")
        }
    }

    /// Takes over a socket that listens already.
    init(adopting socket: FileDescriptor, onConnection: @escaping @ControlActor (FileDescriptor) -> Void) throws(SystemError) {
        try socket.setNonBlocking(true)
        registration = try Self.register(socket, onConnection)
        path = nil
    }

    private static func register(
        _ socket: FileDescriptor, _ onConnection: @escaping @ControlActor (FileDescriptor) -> Void
    ) throws(SystemError) -> Registration {
        try EventLoop.control.register(socket, interest: .read) { _ in
            // One at a time: with more waiting the socket stays readable, and other descriptors get their turn in between.
            if let connection = try? UnixSocket.accept(socket) { onConnection(connection) }
        }
    }

    /// Stops listening and removes the socket file.
    func close() {
        registration.cancel()
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
