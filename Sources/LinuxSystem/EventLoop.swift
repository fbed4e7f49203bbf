import Glibc

/// An epoll loop on a thread of its own that is also a Swift executor: what runs on it is called back when descriptors are ready and when
/// time has passed, and `await`s in between. The control thread is the one loop of the daemon, `EventLoop.control`.
///
/// Everything but `enqueue` belongs to the loop's own thread.
public final class EventLoop: SerialExecutor {
    /// The control thread's loop; its thread starts with the first job.
    public static let control = EventLoop(name: "control")

    /// What the loop's thread alone reads and writes. `@unchecked`: reached through `own`, which checks the thread.
    private final class Own: @unchecked Sendable {
        var registrations: [UInt64: Registration] = [:]
        var nextToken: UInt64 = 1
        var timers = TimerHeap()
    }

    /// What other threads may touch.
    private struct Shared {
        var jobs: [UnownedJob] = []
        var isSignalled = false
        var hasStarted = false
        var thread: pthread_t?
    }

    private let name: String
    private let epoll: Epoll
    private let wakeUp: EventFD
    private let own = Own()
    private let shared = Locked(Shared())
    private static let wakeUpToken: UInt64 = 0

    init(name: String) {
        self.name = name
        do {
            epoll = try Epoll()
            wakeUp = try EventFD()
            try epoll.add(wakeUp.descriptor.rawValue, .readable, token: Self.wakeUpToken)
        } catch {
            // Two descriptors at the start of a process: without them there is no daemon, and nobody to report to.
            fatalError("cannot create the event loop \(name): \(error)")
        }
    }

    /// Takes a job from any thread; jobs run in the order they came.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let (mustStart, mustSignal) = shared.withLock { shared in
            shared.jobs.append(job)
            defer { (shared.hasStarted, shared.isSignalled) = (true, true) }
            return (!shared.hasStarted, !shared.isSignalled)
        }
        if mustStart { start() }
        if mustSignal { wakeUp.signal() }
    }

    /// The executor's identity for Swift's runtime.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor { unsafe UnownedSerialExecutor(ordinary: self) }

    /// Stops the process when the calling thread is not the loop's.
    public func checkIsolated() {
        precondition(isCurrent, "this must run on the loop \(name)")
    }

    /// Whether the calling thread is the loop's own.
    public var isCurrent: Bool {
        shared.withLock { $0.thread }.map { pthread_equal($0, pthread_self()) != 0 } ?? false
    }

    private func start() {
        do {
            // The thread is detached when this handle goes; the loop runs as long as the process.
            _ = try PinnedThread(name: name) { [self] in run() }
        } catch {
            fatalError("cannot start the event loop \(name): \(error)")
        }
    }

    private func run() -> Never {
        shared.withLock { $0.thread = pthread_self() }
        let ready = UnsafeMutableBufferPointer<Epoll.Ready>.allocate(capacity: Epoll.batchSizeMax)
        unsafe ready.initialize(repeating: Epoll.Ready())
        while true {
            let hasMore = runJobs()
            let count = unsafe epoll.wait(into: ready, timeoutNanoseconds: hasMore ? 0 : nanosecondsToNextTimer())
            for index in 0..<count {
                dispatch(unsafe ready[index])
            }
            runTimers()
        }
    }

    /// Runs the jobs that are there now; those that they bring wait for the next round, so that descriptors and timers get their turn.
    private func runJobs() -> Bool {
        let jobs = shared.withLock { shared in
            defer {
                shared.jobs = []
                shared.isSignalled = false
            }
            return shared.jobs
        }
        for job in jobs {
            unsafe job.runSynchronously(on: asUnownedSerialExecutor())
        }
        return shared.withLock { !$0.jobs.isEmpty }
    }

    private func dispatch(_ ready: Epoll.Ready) {
        if ready.token == Self.wakeUpToken {
            wakeUp.drain()
            return
        }
        // A handler earlier in this round may have cancelled this one: its token is unknown then and the event is nobody's.
        guard let registration = own.registrations[ready.token] else { return }
        let readiness = Readiness(ready.events)
        ControlActor.assumeIsolated { registration.handler?(readiness) }
    }

    private func nanosecondsToNextTimer() -> Int64 {
        guard let deadline = own.timers.nextDeadline else { return -1 }
        let now = MonotonicClock.now()
        return deadline <= now ? 0 : Int64(clamping: deadline - now)
    }

    private func runTimers() {
        guard own.timers.nextDeadline != nil else { return }
        let now = MonotonicClock.now()
        // Timers that these handlers add with no delay run in the next round: the bound keeps this loop finite.
        for _ in 0..<own.timers.count {
            guard let timer = own.timers.popDue(now: now) else { return }
            ControlActor.assumeIsolated { timer.fire() }
        }
    }
}

extension EventLoop {
    /// What to wait for at a descriptor. Errors and a peer that hung up are reported unasked.
    public struct Interest: OptionSet, Sendable {
        /// The set's bits.
        public var rawValue: UInt8
        /// Takes the set's bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Something to read, a connection to accept, or the peer's end.
        public static let read = Interest(rawValue: 1)
        /// Room to write.
        public static let write = Interest(rawValue: 2)

        var events: Epoll.Events {
            var events: Epoll.Events = []
            if contains(.read) { events.formUnion([.readable, .peerClosed]) }
            if contains(.write) { events.insert(.writable) }
            return events
        }
    }

    /// Calls `handler` whenever `descriptor` is ready, until the registration is cancelled; the registration keeps the descriptor open.
    @ControlActor
    public func register(
        _ descriptor: FileDescriptor, interest: Interest, handler: @escaping @ControlActor (Readiness) -> Void
    ) throws(SystemError) -> Registration {
        checkIsolated()
        let token = own.nextToken
        own.nextToken += 1
        try epoll.add(descriptor.rawValue, interest.events, token: token)
        let registration = Registration(loop: self, descriptor: descriptor, token: token, handler: handler)
        own.registrations[token] = registration
        return registration
    }

    /// Calls `handler` with each of `signals` that the process gets. They must be blocked in every thread: `Signals.block` in main.
    @ControlActor
    public func register(
        signals: [Int32], handler: @escaping @ControlActor (Int32) -> Void
    ) throws(SystemError) -> Registration {
        let descriptor = try Signals.descriptor(for: signals)
        return try register(descriptor, interest: .read) { _ in
            while let signal = Signals.next(descriptor) { handler(signal) }
        }
    }

    /// Calls `handler` once, `nanoseconds` from now or a little later, unless it is cancelled first.
    @ControlActor
    @discardableResult
    public func after(nanoseconds: UInt64, handler: @escaping @ControlActor () -> Void) -> TimerRegistration {
        checkIsolated()
        let timer = TimerRegistration(deadline: MonotonicClock.now() &+ nanoseconds, handler: handler)
        own.timers.insert(timer)
        return timer
    }

    @ControlActor
    func update(_ registration: Registration, interest: Interest) throws(SystemError) {
        try epoll.modify(registration.descriptor.rawValue, interest.events, token: registration.token)
    }

    @ControlActor
    func remove(_ registration: Registration) {
        guard own.registrations.removeValue(forKey: registration.token) != nil else { return }
        epoll.remove(registration.descriptor.rawValue)
    }
}
