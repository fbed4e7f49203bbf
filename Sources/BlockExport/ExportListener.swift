public import LinuxSystem

/// The listening socket of an export, which may be there before the export is: who connects then waits in the kernel's queue until there is
/// somebody to serve them.
///
/// So a restarted daemon's front-ends find their sockets at once, whatever their disks take to open.
@ControlActor
public final class ExportListener {
    /// How long no connection is taken after one could not be: without a free descriptor the next attempt would fail at once, and for ever.
    static let retryNanoseconds: UInt64 = 100_000_000

    private let socket: FileDescriptor
    /// Closes what front-ends send, and their connections.
    let closing = ClosingQueue()
    /// Who gets connections, and is told when they cannot be taken; nil as long as nobody does.
    private var onConnection: (@ControlActor (FileDescriptor) -> Void)?
    private var onTrouble: (@ControlActor (SystemError) -> Void)?
    private var registration: Registration?
    private var isInTrouble = false
    private var pausedUntil: UInt64 = 0
    private var pauseEnd: TimerRegistration?
    /// The socket file to remove in the end, or nil when the socket was inherited.
    private let path: String?
    private var isClosed = false

    /// Makes the socket and listens; a socket file that nobody listens on is replaced, anything else in its place is refused. Nobody is
    /// accepted yet.
    ///
    /// - Throws: ``ExportError``, with field `socket` or `socketGroup`; nothing remains of the attempt.
    public init(path: String, mode: UInt32, group: String?) throws(ExportError) {
        do {
            socket = try UnixSocket.listen(path: path, mode: mode, group: group, closing: closing)
            self.path = path
        } catch {
            throw Self.refusal(of: error, path: path)
        }
    }

    /// Takes over a socket that listens already.
    init(adopting socket: FileDescriptor) throws(SystemError) {
        try socket.setNonBlocking(true)
        self.socket = socket
        path = nil
    }

    /// Takes who waits and who comes, and gives each to `onConnection` from now on. `onTrouble` is told when connections cannot be taken,
    /// once until they can.
    func serve(
        onConnection: @escaping @ControlActor (FileDescriptor) -> Void, onTrouble: @escaping @ControlActor (SystemError) -> Void
    ) throws(SystemError) {
        self.onConnection = onConnection
        self.onTrouble = onTrouble
        guard registration == nil else { return }
        registration = try EventLoop.control.register(socket, interest: .read) { [weak self] _ in self?.accept() }
    }

    /// Closes the connection of who waits and of who comes: there is nobody to serve them now, and a front-end that waits for an answer
    /// holds up its whole virtual machine, while one that is hung up on tries again later.
    public func turnAway(_ onRefusal: @escaping @ControlActor () -> Void) throws(SystemError) {
        try serve(
            onConnection: { socket in
                UnixSocket.shutdown(socket)
                onRefusal()
            }, onTrouble: { _ in })
    }

    /// One at a time: with more waiting the socket stays readable, and other descriptors get their turn in between.
    private func accept() {
        // What the front-ends before have left takes its time to go; that of the next one would be more.
        if closing.isFull { return pause(nanoseconds: Self.retryNanoseconds) }
        do throws(SystemError) {
            let connection = try UnixSocket.accept(socket, closing: closing)
            isInTrouble = false
            if let connection { onConnection?(connection) }
        } catch {
            pause(nanoseconds: Self.retryNanoseconds)
            if !isInTrouble { onTrouble?(error) }
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

    /// Stops listening and removes the socket file; may be called again.
    public func close() {
        guard !isClosed else { return }
        isClosed = true
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
