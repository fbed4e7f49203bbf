import ControlAPI
import LinuxSystem
import Logging

/// The control socket: accepts peers that may use it and gives each a `ControlConnection`.
///
/// Idle peers are harmless: they cost a descriptor each, their number is bounded, and when the bound is reached the one that has been silent
/// longest goes, so that nobody can lock the administrator out.
@ControlActor
final class ControlServer {
    /// The most connections at a time, as long as the process may open descriptors for them and four times as many for its exports.
    nonisolated static let connectionCountMax = 1024
    /// How long to wait with accepting when the process has no descriptor left.
    nonisolated static let retryNanoseconds: UInt64 = 1_000_000_000
    /// How long to wait for the descriptor of a connection that was closed to make room.
    nonisolated static let closingNanoseconds: UInt64 = 2_000_000

    /// Answers a request; called on the control thread, one call at a time per connection.
    typealias Handler = @ControlActor (RPCRequest) async -> Result<JSONValue, ControlError>

    let path: String
    private let listener: FileDescriptor
    /// Closes connections, and what comes over them where the kernel cannot refuse it (before Linux 6.16): there a peer that is turned away
    /// can fill the queue, and nobody is accepted until there is room.
    private let closing = ClosingQueue()
    private let access: ControlAccess
    private let handler: Handler
    private let events: EventStream
    private let log: Logger
    private let connectionLimit: Int
    private let lineTimeoutNanoseconds: UInt64
    private var registration: Registration?
    private var connections: [ObjectIdentifier: ControlConnection] = [:]

    /// Listens at `path`; `descriptorLimit` is how many descriptors the process may open, `lineTimeoutNanoseconds` how long a line may take
    /// from its first byte to its end.
    init(
        path: String, access: ControlAccess, descriptorLimit: UInt64,
        lineTimeoutNanoseconds: UInt64 = ControlConnection.lineTimeoutNanoseconds, events: EventStream, log: Logger,
        handler: @escaping Handler
    ) throws(ControlError) {
        self.events = events
        self.lineTimeoutNanoseconds = lineTimeoutNanoseconds
        self.path = path
        connectionLimit = max(1, min(Self.connectionCountMax, Int(clamping: descriptorLimit / 5)))
        self.access = access
        self.log = log
        self.handler = handler
        do {
            listener = try UnixSocket.listen(
                path: path, mode: access.mode, group: access.groupName, backlog: Int32(Self.connectionCountMax), closing: closing,
                takesDescriptors: false)
        } catch {
            throw Self.refusal(error, path: path)
        }
        do {
            registration = try EventLoop.control.register(listener, interest: .read) { [weak self] _ in self?.accept() }
        } catch {
            UnixSocket.removeSocketFile(path: path)
            throw ControlError(.system, "the control socket \(path) cannot be watched: \(error)")
        }
    }

    private static func refusal(_ error: UnixListenerError, path: String) -> ControlError {
        switch error {
        case .pathTooLong: ControlError(.socket, "\(error)", field: "control", hint: "choose a shorter path with --control")
        case .notASocket:
            ControlError(
                .socket, "the control socket cannot be made: \(error)", field: "control", hint: "move it away, or choose another path")
        case .inUse:
            ControlError(
                .busy, "another vhublkd uses the control socket \(path)", field: "control",
                hint: "stop it, or choose another path with --control")
        case .unknownGroup: ControlError(.socket, "\(error)", field: "control_group", hint: "create the group, or name another")
        case .system:
            ControlError(
                .socket, "the control socket cannot be made: \(error)", field: "control",
                hint: "its folder must exist and be writable for the daemon's user, or choose another path with --control")
        }
    }

    private func accept() {
        if closing.isFull { return pause(nanoseconds: Self.retryNanoseconds) }
        do {
            // One at a time: while more wait the listener stays readable, and other descriptors get their turn in between.
            guard let socket = try UnixSocket.accept(listener, closing: closing) else { return }
            admit(socket)
        } catch {
            // No descriptor is left: the connection that waits would be reported again at once and for ever.
            log.warning("a control connection cannot be accepted: \(error)")
            // The one that goes is closed soon, not at once.
            pause(nanoseconds: dropOldest() == nil ? Self.retryNanoseconds : Self.closingNanoseconds)
        }
    }

    private func pause(nanoseconds: UInt64) {
        try? registration?.setInterest([])
        EventLoop.control.after(nanoseconds: nanoseconds) { [weak self] in try? self?.registration?.setInterest(.read) }
    }

    private func admit(_ socket: FileDescriptor) {
        if let refusal = access.refusal(of: socket) {
            log.notice("a control connection was turned away: \(refusal.message)")
            ControlConnection.refuse(socket, refusal)
            return
        }
        if connections.count >= connectionLimit, dropOldest() == nil {
            ControlConnection.refuse(
                socket, ControlError(.limit, "\(connections.count) control connections are busy", hint: "try again later"))
            return
        }
        do {
            let connection = try ControlConnection(
                socket: socket, lineTimeoutNanoseconds: lineTimeoutNanoseconds, closing: closing, handler: handler,
                onSubscribe: { [events] in events.add($0, export: $1) },
                onClose: { [weak self] in
                    self?.connections[$0] = nil
                    self?.events.remove($0)
                })
            connections[ObjectIdentifier(connection)] = connection
        } catch {
            log.warning("a control connection cannot be watched: \(error)")
        }
    }

    /// Closes the connection that has been silent longest and has no request in work; nil when there is none.
    private func dropOldest() -> ControlConnection? {
        guard let oldest = connections.values.filter({ !$0.isBusy }).min(by: { $0.lastActive < $1.lastActive }) else { return nil }
        oldest.close()
        log.notice("the control connection that was silent longest was closed to make room")
        return oldest
    }

    /// The number of open connections.
    var connectionCount: Int { connections.count }

    /// Stops listening, removes the socket and closes the connections, those with a request in work after its answer.
    func stop() {
        registration?.cancel()
        registration = nil
        UnixSocket.removeSocketFile(path: path)
        for connection in connections.values { connection.finish() }
    }
}
