import LinuxSystem

/// A connection to a daemon's control socket for programs that ask and wait: one call at a time, each with a time limit.
public final class ControlClient {
    /// How long a call may take, unless it says otherwise.
    public static let timeoutNanosecondsDefault: UInt64 = 60_000_000_000
    /// The longest answer that is accepted.
    public static let answerLengthMax = 64 << 20

    private let path: String
    private let socket: FileDescriptor
    private var received: [UInt8] = []
    private var nextID: Int64 = 1
    /// Events that came while an answer was waited for.
    private var events: [EventInfo] = []

    /// Why a call has no answer.
    public enum Failure: Error, Equatable, CustomStringConvertible {
        /// Nobody listens at the path; the reason in words.
        case notRunning(path: String, reason: String)
        /// The connection broke or the daemon did not answer in time.
        case broken(path: String, reason: String)
        /// The daemon refused.
        case refused(ControlError)

        /// The thing, the reason and the way out.
        public var description: String {
            switch self {
            case .notRunning(let path, let reason):
                "cannot reach vhublkd at \(path): \(reason) "
                    + "(is the daemon running? start it with 'systemctl start vhublkd', or name its socket with --control)"
            case .broken(let path, let reason): "the connection to vhublkd at \(path) broke: \(reason) (look at the daemon's log)"
            case .refused(let error): error.description
            }
        }
    }

    /// Connects to the daemon at `path`.
    public init(path: String) throws(Failure) {
        self.path = path
        guard path.utf8.count <= UnixSocket.pathLengthMax else {
            throw .notRunning(path: path, reason: "the path is longer than the \(UnixSocket.pathLengthMax) bytes of a Unix socket's")
        }
        do {
            socket = try Self.connect(path)
        } catch {
            throw .notRunning(path: path, reason: error.reason)
        }
    }

    /// Connects; while others fill the listener's backlog it tries again, for some seconds.
    private static func connect(_ path: String) throws(SystemError) -> FileDescriptor {
        let deadline = MonotonicClock.now() &+ 5_000_000_000
        while true {
            do {
                return try UnixSocket.connect(path: path)
            } catch  where error.isTemporary && MonotonicClock.now() < deadline {
                ProcessSelf.sleep(nanoseconds: 5_000_000)
            }
        }
    }

    /// Calls a method and reads its result.
    public func call<Method: ControlMethod>(
        _ method: Method.Type, _ parameters: Method.Parameters, timeoutNanoseconds: UInt64 = timeoutNanosecondsDefault
    ) throws(Failure) -> Method.Result {
        let result = try call(method.name.rawValue, try members(of: parameters), timeoutNanoseconds: timeoutNanoseconds)
        do {
            return try JSONText.decode(Method.Result.self, from: result)
        } catch {
            throw .broken(path: path, reason: "the answer to \(method.name.rawValue) has another shape than this version knows")
        }
    }

    /// Calls a method by its name, without types.
    public func call(
        _ method: String, _ parameters: [String: JSONValue], timeoutNanoseconds: UInt64 = timeoutNanosecondsDefault
    ) throws(Failure) -> JSONValue {
        let deadline = MonotonicClock.now() &+ timeoutNanoseconds
        let id = RPCIdentifier.integer(nextID)
        nextID += 1
        do {
            let line = try RPCRequest(id: id, method: method, parameters: parameters).line()
            do {
                try send(line, deadline: deadline)
            } catch is SystemError {
                // A daemon that turns a peer away says why before it closes: that may have come already.
                return try receiveAnswer(to: id, deadline: deadline)
            }
            return try receiveAnswer(to: id, deadline: deadline)
        } catch let error as ControlError {
            throw .refused(error)
        } catch let error as Failure {
            throw error
        } catch {
            throw .broken(path: path, reason: "\(error)")
        }
    }

    private func receiveAnswer(to id: RPCIdentifier, deadline: UInt64) throws -> JSONValue {
        while true {
            let line = try receiveLine(deadline: deadline)
            guard let response = RPCResponse(line: line) else {
                guard let event = Self.event(line) else { throw Failure.broken(path: path, reason: "the answer is not JSON-RPC") }
                events.append(event)
                continue
            }
            // The daemon answers a line that it cannot read, and a peer that it turns away, with id null.
            if response.id == id || response.id == .null { return try response.outcome.get() }
        }
    }

    /// The next event after a call of ``EventsSubscribe``; nil when none came before the deadline, a time of the monotonic clock.
    public func nextEvent(deadline: UInt64) throws(Failure) -> EventInfo? {
        if !events.isEmpty { return events.removeFirst() }
        do {
            if !received.contains(UInt8(ascii: "\n")) {
                // One look: the deadline may pass between two.
                let now = MonotonicClock.now()
                guard now < deadline, try socket.wait(for: .readable, nanoseconds: deadline - now) else { return nil }
            }
            guard let event = Self.event(try receiveLine(deadline: deadline)) else {
                throw Failure.broken(path: path, reason: "a line came that is no event")
            }
            return event
        } catch let error as Failure {
            throw error
        } catch {
            throw .broken(path: path, reason: "\(error)")
        }
    }

    /// Reads an event's line; nil when it is something else.
    private static func event(_ line: [UInt8]) -> EventInfo? {
        guard let request = try? RPCRequest(line: line), request.id == nil, request.method == EventsSubscribe.notificationName else {
            return nil
        }
        return try? JSONText.decode(EventInfo.self, from: .object(request.parameters))
    }

    private func members(of parameters: some DescribedObject) throws(Failure) -> [String: JSONValue] {
        do {
            return try JSONText.value(of: parameters).object ?? [:]
        } catch {
            throw .broken(path: path, reason: "the parameters cannot be written as JSON: \(error)")
        }
    }

    /// Sends bytes as they are; for `call`, and for tests of what a daemon does with them.
    public func send(_ bytes: [UInt8], deadline: UInt64) throws {
        var sent = 0
        while sent < bytes.count {
            let count = try unsafe bytes[sent...].withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
            sent += count ?? 0
            if count == nil { try wait(for: .writable, deadline: deadline) }
        }
    }

    /// The next line that the daemon sends, its end not included.
    public func receiveLine(deadline: UInt64) throws -> [UInt8] {
        var searched = 0
        while true {
            if let end = received[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { received.removeFirst(end + 1) }
                return Array(received[..<end])
            }
            searched = received.count
            guard received.count <= Self.answerLengthMax else { throw Failure.broken(path: path, reason: "the answer is too long") }
            try wait(for: .readable, deadline: deadline)
            var chunk = [UInt8](repeating: 0, count: 65536)
            let part = try unsafe chunk.withUnsafeMutableBytes { try unsafe UnixSocket.receive(socket, into: $0, maximumDescriptors: 0) }
            guard let part else { continue }
            if part.byteCount == 0 { throw Failure.broken(path: path, reason: "the daemon closed it") }
            received.append(contentsOf: chunk[..<part.byteCount])
        }
    }

    private func wait(for event: FileDescriptor.WaitEvent, deadline: UInt64) throws {
        let now = MonotonicClock.now()
        guard now < deadline, try socket.wait(for: event, nanoseconds: deadline - now) else {
            throw Failure.broken(path: path, reason: "no answer in time")
        }
    }
}
