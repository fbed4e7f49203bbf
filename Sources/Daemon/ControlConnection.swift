import ControlAPI
import LinuxSystem

/// One peer of the control socket: reads lines, has them answered one after the other, writes the answers. Never waits.
///
/// Memory is bounded: one line that is being read, and the answer of one request; while a request is in work or its answer is not taken
/// nothing is read.
@ControlActor
final class ControlConnection {
    private enum State {
        /// Lines are read.
        case reading
        /// A request is in work.
        case working
        /// An answer waits for the peer to take it.
        case writing
        /// Nothing happens any more.
        case closed
    }

    private static let chunkSize = 16384
    /// Events that are kept for a peer that does not take them.
    static let eventCountMax = 1024
    /// Events that are written at once.
    private static let eventBatch = 64
    /// How long a line may take from its first byte to its end, unless the server says otherwise: 30 seconds.
    nonisolated static let lineTimeoutNanoseconds: UInt64 = 30_000_000_000

    private let socket: FileDescriptor
    /// Closes descriptors that come although nobody asked for them, before the connection ends.
    private let closing: ClosingQueue?
    private let handler: ControlServer.Handler
    private let onClose: @ControlActor (ObjectIdentifier) -> Void
    private let lineTimeoutNanoseconds: UInt64
    /// Runs while a line is not complete.
    private var lineTimer: TimerRegistration?
    private var registration: Registration?
    private var state = State.reading
    private var input: [UInt8] = []
    private var output: [UInt8] = []
    private var writtenCount = 0
    /// The peer sends no more; what it sent before is still answered.
    private var hasInputEnded = false
    /// The connection ends with the answer that is in work.
    private var isLast = false

    /// Lines of events that were not sent yet; of a peer that did not subscribe there are none.
    private var events: [[UInt8]] = []
    private var isSubscribed = false
    /// Events that found no room in `events`, and the number of the last of them.
    private var lost: (count: UInt64, sequence: UInt64) = (0, 0)
    /// Told when the peer subscribes, with the name that it gave; says why it cannot.
    private let onSubscribe: @ControlActor (ControlConnection, String?) -> ControlError?

    /// When the peer last sent or took something, monotonic nanoseconds.
    private(set) var lastActive = MonotonicClock.now()

    /// Whether a request is in work.
    var isBusy: Bool { state == .working }

    init(
        socket: FileDescriptor, lineTimeoutNanoseconds: UInt64 = lineTimeoutNanoseconds, closing: ClosingQueue? = nil,
        handler: @escaping ControlServer.Handler,
        onSubscribe: @escaping @ControlActor (ControlConnection, String?) -> ControlError?,
        onClose: @escaping @ControlActor (ObjectIdentifier) -> Void
    ) throws(SystemError) {
        self.onSubscribe = onSubscribe
        self.lineTimeoutNanoseconds = lineTimeoutNanoseconds
        self.socket = socket
        self.closing = closing
        self.handler = handler
        self.onClose = onClose
        registration = try EventLoop.control.register(socket, interest: .read) { [weak self] in self?.ready($0) }
    }

    /// Sends an error to a peer that gets no connection, as far as its socket takes it.
    static func refuse(_ socket: FileDescriptor, _ error: ControlError) {
        guard let line = try? RPCResponse(id: .null, outcome: .failure(error)).line() else { return }
        _ = try? unsafe line.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
        UnixSocket.shutdown(socket)
    }

    private func ready(_ readiness: Readiness) {
        switch state {
        case .reading where hasInputEnded:
            // Only a subscriber is here that has said all it had to say.
            if readiness.isClosed { close() }
        case .reading: read()
        case .writing where readiness.canWrite: write()
        case .working where readiness.isClosed, .writing where readiness.isClosed:
            // Gone in both directions: nobody takes the answer. (A peer that only stopped sending is not reported here.)
            close()
        case .working, .writing, .closed: break
        }
    }

    private func read() {
        var chunk = [UInt8](repeating: 0, count: Self.chunkSize)
        do {
            let received = try unsafe chunk.withUnsafeMutableBytes {
                try unsafe UnixSocket.receive(socket, into: $0, maximumDescriptors: 0, closing: closing)
            }
            guard let received else { return }
            if received.lostDescriptors {
                let hint = "nothing here is done with a descriptor; this connection is closed"
                return refuseLine("descriptors were sent along", hint: hint)
            }
            lastActive = MonotonicClock.now()
            hasInputEnded = received.byteCount == 0
            input.append(contentsOf: chunk[..<received.byteCount])
        } catch {
            close()
            return
        }
        nextLine()
    }

    /// Takes the next whole line into work, or waits for more.
    private func nextLine() {
        guard state == .reading else { return }
        guard let end = input.prefix(RPCRequest.lineLengthMax + 1).firstIndex(of: UInt8(ascii: "\n")) else {
            if input.count > RPCRequest.lineLengthMax {
                let hint = "a line ends with a line feed and has at most \(RPCRequest.lineLengthMax) bytes; this connection is closed"
                refuseLine("the line is too long", hint: hint)
            } else if hasInputEnded, isSubscribed, !isLast {
                setInterest([])
            } else if hasInputEnded || isLast {
                close()
            } else if !input.isEmpty {
                waitForLine()
            }
            return
        }
        lineTimer?.cancel()
        lineTimer = nil
        var line = Array(input[..<end])
        input.removeFirst(end + 1)
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        if line.isEmpty {
            resume()
            return
        }
        do throws(RPCRequest.Failure) {
            work(try RPCRequest(line: line))
        } catch {
            answer(RPCResponse(id: error.id, outcome: .failure(error.error)))
        }
    }

    /// A line that has begun must end within the time-out, however slowly it comes: who sends a byte now and then holds nothing for ever.
    private func waitForLine() {
        guard lineTimer == nil else { return }
        let limit = lineTimeoutNanoseconds
        lineTimer = EventLoop.control.after(nanoseconds: limit) { [weak self] in
            // While events are being written the next look at the line waits for its end again.
            self?.lineTimer = nil
            let hint = "a line ends with a line feed, which has to come soon; this connection is closed"
            self?.refuseLine("the line was not finished within \(limit / 1_000_000) ms", hint: hint)
        }
    }

    /// Answers what is no whole line, and ends the connection.
    private func refuseLine(_ reason: String, hint: String) {
        guard state == .reading else { return }
        isLast = true
        answer(RPCResponse(id: .null, outcome: .failure(ControlError(.parse, reason, hint: hint))))
    }

    /// Goes on with what has been read already, in a round of its own: a peer that sends many lines at once shares the thread.
    private func resume() {
        state = .reading
        if !events.isEmpty || lost.count > 0 { return sendEvents() }
        guard !input.isEmpty || hasInputEnded || isLast else {
            setInterest(.read)
            return
        }
        setInterest([])
        ControlActor.post { [weak self] in
            // Events may be on their way by now; what was read has its turn after them.
            guard let self, state == .reading else { return }
            setInterest(.read)
            nextLine()
        }
    }

    private func work(_ request: RPCRequest) {
        state = .working
        setInterest([])
        Task { @ControlActor in
            var outcome = await handler(request)
            guard state == .working else { return }
            if request.method == MethodName.eventsSubscribe.rawValue, case .success = outcome {
                if let refusal = onSubscribe(self, request.parameters["name"]?.string) {
                    outcome = .failure(refusal)
                } else {
                    isSubscribed = true
                }
            }
            if let id = request.id {
                answer(RPCResponse(id: id, outcome: outcome))
            } else {
                resume()
            }
        }
    }

    private func answer(_ response: RPCResponse) {
        let failure = ControlError(.internal, "the answer cannot be written as JSON", hint: "please report this")
        output = (try? response.line()) ?? (try? RPCResponse(id: response.id, outcome: .failure(failure)).line()) ?? []
        writtenCount = 0
        state = .writing
        write()
    }

    /// Sends an event's line as soon as nothing else is being sent; one for which there is no room is lost, and that is told in its place.
    func deliver(_ line: [UInt8], sequence: UInt64) {
        guard state != .closed else { return }
        guard events.count < Self.eventCountMax else {
            lost = (lost.count + 1, sequence)
            return
        }
        noteLost()
        events.append(line)
        if state == .reading { sendEvents() }
    }

    private func noteLost() {
        guard lost.count > 0 else { return }
        events.append(EventStream.lost(lost.count, sequence: lost.sequence))
        lost = (0, 0)
    }

    private func sendEvents() {
        if events.isEmpty { noteLost() }
        output = Array(events.prefix(Self.eventBatch).joined())
        events.removeFirst(min(events.count, Self.eventBatch))
        writtenCount = 0
        state = .writing
        write()
    }

    private func write() {
        do {
            while writtenCount < output.count {
                let count = try unsafe output[writtenCount...].withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
                guard let count else {
                    setInterest(.write)
                    return
                }
                lastActive = MonotonicClock.now()
                writtenCount += count
            }
        } catch {
            close()
            return
        }
        output = []
        if isLast {
            close()
        } else {
            resume()
        }
    }

    private func setInterest(_ interest: EventLoop.Interest) {
        do {
            try registration?.setInterest(interest)
        } catch {
            close()
        }
    }

    /// Ends the connection, after the answer that is in work.
    func finish() {
        isLast = true
        if state == .reading { close() }
    }

    /// Ends the connection at once.
    func close() {
        guard state != .closed else { return }
        state = .closed
        lineTimer?.cancel()
        registration?.cancel()
        registration = nil
        input = []
        output = []
        events = []
        UnixSocket.shutdown(socket)
        onClose(ObjectIdentifier(self))
    }
}
