internal import BlockIO
internal import LinuxSystem
internal import Synchronization
internal import VhostUser
internal import Virtio

/// The loop of one poller: its queues, its engines, and how it waits. Lives on the poller's thread and nowhere else.
///
/// A turn looks at every hot queue, submits what they queued with one call per engine, reaps, and completes: one used-index store and
/// at most one notification per queue and turn. A queue that found nothing for its spin time is armed (the driver will kick) and
/// leaves the hot list; with no hot queue the thread sleeps in epoll on the kicks, the engines and its mailbox together.
@safe
final class PollerLoop {
    static let wakeToken = UInt64.max
    static let engineToken = UInt64.max - 1
    /// Turns between two looks at the kicks of armed queues, and at idle hot queues, while others keep the poller busy.
    private static let turnsPerCheck = 64
    /// Turns without work between two looks at the clock: a look costs about as much as a turn.
    private static let idleTurnsPerCheck = 16

    /// The poller this loop belongs to.
    let poller: Poller
    /// Set by the last job.
    var isEnding = false

    private let epoll: Epoll
    private var ioURingEngine: URingEngine?
    private var polledEngine: URingEngine?
    private var libaioEngine: AIOEngine?
    let engines = ReferenceList<IOEngine>()
    private(set) var queues: [UInt64: PolledQueue] = [:]
    /// Those of `queues` that are looked at in each turn.
    private let hot = ReferenceList<PolledQueue>()
    /// Whether some of `queues` are not hot.
    private var hasCool = false
    /// Hot queues that are not to be spun for.
    private var impatientCount = 0
    /// Queues that take no more chains and wait for those in flight.
    var draining: [UInt64] = []
    private var turns = 0
    /// Guest memory that is registered, once a queue wanted it.
    var registrations: MemoryRegistrations?
    /// When held requests are to be tried again, on the monotonic clock; `UInt64.max` while none are held.
    var nextRetry = UInt64.max
    /// When a notification that waits for others is due, at the earliest; `UInt64.max` while none waits.
    var nextNotification = UInt64.max
    /// When the queues publish their gauges next, while there is no sleep to do it before.
    var nextPublish: UInt64 = 0
    static let publishNanoseconds: UInt64 = 100_000_000
    /// Turns without work since the last one with some.
    private var idleTurns = 0
    // unsafe: allocated here, freed in deinit, used for one epoll_wait at a time.
    private let ready: UnsafeMutableBufferPointer<Epoll.Ready>

    init(poller: Poller, epoll: Epoll) {
        self.poller = poller
        self.epoll = epoll
        unsafe ready = .allocate(capacity: 64)
        unsafe ready.initialize(repeating: Epoll.Ready())
    }

    deinit {
        unsafe ready.deallocate()
        hot.destroy()
        engines.destroy()
    }

    /// Runs until a job sets ``isEnding``; the process ends soon after.
    func run() {
        while !isEnding {
            if let jobs = poller.takeMail() {
                for job in jobs { job(self) }
                // Looked at before the next sleep, which nobody would end.
                continue
            }
            if turn() {
                idleTurns = 0
                PollerGauges.add(1, to: poller.gauges.busyLoops)
                turns &+= 1
                if turns % Self.turnsPerCheck == 0 { checkBetweenBatches() }
            } else {
                idle()
            }
        }
        // The kernel may still write to the memory of abandoned requests: it is kept until the process is gone.
        if !queues.isEmpty { _ = unsafe Unmanaged.passRetained(self) } else { registrations?.endAll() }
    }

    // MARK: Jobs

    /// One of the poller's two io_urings, prepared before and enabled at its first use: only this thread may submit to it.
    func ioURing(isPolled: Bool) throws(SystemError) -> URingEngine {
        if let engine = isPolled ? polledEngine : ioURingEngine { return engine }
        let engine = try poller.takeRing(isPolled: isPolled)
        try watch(engine)
        if isPolled { polledEngine = engine } else { ioURingEngine = engine }
        return engine
    }

    /// The poller's libaio context, made at its first use.
    func libaio() throws(SystemError) -> AIOEngine {
        if let libaioEngine { return libaioEngine }
        let engine = try AIOEngine(node: poller.node)
        try watch(engine)
        libaioEngine = engine
        return engine
    }

    private func watch(_ engine: IOEngine) throws(SystemError) {
        for descriptor in engine.waitDescriptors { try epoll.add(descriptor, .readable, token: Self.engineToken) }
        engines.append(engine)
        updateWaking()
    }

    /// Begins to run a queue under a token of the caller's and looks at its ring at once.
    func add(_ queue: PolledQueue, token: UInt64) throws(SystemError) {
        if let kick = queue.kick { try epoll.add(kick.rawValue, .readable, token: token) }
        queues[token] = queue
        registerMemory(of: queue, token)
        heat(queue)
        updateWaking()
    }

    /// Looks at a ring that a message kicked.
    func kicked(_ token: UInt64) {
        if let queue = queues[token] { heat(queue) }
    }

    /// Tries a queue's held requests now rather than when their wait is over.
    func hastenRetry(_ token: UInt64) {
        guard let queue = queues[token] else { return }
        queue.hastenRetry()
        retryHeld(now: MonotonicClock.now())
    }

    /// Uses another call descriptor from now on, and signals it once.
    func replaceCall(_ token: UInt64, _ call: FileDescriptor?) { queues[token]?.replaceCall(call) }

    /// Announces on a queue's err descriptor that its ring is broken.
    func signalError(_ token: UInt64, _ error: FileDescriptor) {
        let wasInterrupted = atPeer { EventFD.signal(raw: error.rawValue) }
        if wasInterrupted { queues[token]?.counters.add(1, to: .stalls) }
    }

    /// Waits on another kick descriptor, and looks at the ring at once: a kick may have gone to the old one.
    func replaceKick(_ token: UInt64, _ kick: FileDescriptor?) {
        guard let queue = queues[token] else { return }
        if let old = queue.kick { epoll.remove(old.rawValue) }
        queue.replaceKick(kick)
        do {
            if let kick { try epoll.add(kick.rawValue, .readable, token: token) }
            heat(queue)
            updateWaking()
        } catch {
            fail(queue, "the kick descriptor cannot be waited on: \(error)")
        }
    }

    // MARK: Turns

    /// One look at everything hot; whether anything was done.
    @inline(__always)
    private func turn() -> Bool {
        var work = 0
        var index = 0
        while index < hot.count {
            switch hot.with(index, { $0.take() }) {
            case .taken(let count):
                if count > 0 {
                    work &+= count
                    hot.with(index) { $0.noteWork() }
                }
                index &+= 1
            case .failed(let reason):
                // It leaves the list; the one after it is at its place now.
                hot.with(index) { fail($0, reason) }
                // What was taken before the fault is done and answered like everything else of this turn.
                work &+= 1
            case .missed(let count, let miss):
                work &+= count &+ 1
                hot.with(index) { park($0, miss) }
            }
        }
        for index in 0..<engines.count {
            work &+= engines.with(index) { engine in
                engine.submit()
                return engine.reap()
            }
        }
        if work == 0 { return false }
        completeAll()
        return true
    }

    @inline(__always)
    func completeAll() {
        for index in 0..<hot.count {
            hot.with(index) { queue in
                if queue.complete() > 0 { queue.noteWork() }
            }
        }
        if hasCool { completeCool() }
    }

    /// Operations of queues that were armed, or are draining, may have ended too.
    @inline(never)
    private func completeCool() {
        for queue in queues.values where !queue.isHot && queue.hasCompletions {
            _ = queue.complete()
            // The guest tends to answer a completion with new requests: worth a spin, unless it was asked not to.
            if queue.state == .running, queue.pollMode != .interrupt { heat(queue) }
        }
        if !draining.isEmpty { finishDrained() }
    }

    func fail(_ queue: PolledQueue, _ reason: String) {
        queue.state = .failed
        cool(queue)
        updateWaking()
        queue.reportFailure(reason)
    }

    func finishDrained() {
        for token in draining {
            guard let queue = queues[token] else { continue }
            if queue.state == .draining { finishEarlierRequests(queue) }
            guard queue.inFlight == 0 else { continue }
            if let kick = queue.kick { epoll.remove(kick.rawValue) }
            queue.close()
            registrations?.end(token)
            queues[token] = nil
            queue.onStopped?(queue.base)
            queue.onStopped = nil
        }
        draining.removeAll { queues[$0] == nil }
        hasCool = hot.count < queues.count
        updateWaking()
    }

    /// A ring is given back without requests in flight, those of an earlier daemon included: it may have been stopped before it, or all of
    /// it, was looked at.
    private func finishEarlierRequests(_ queue: PolledQueue) {
        queue.takeResubmissions()
        // What needs no engine has ended already, and made room for more.
        while queue.hasCompletions {
            _ = queue.complete()
            queue.takeResubmissions()
        }
    }

    // MARK: Hot and cool

    func heat(_ queue: PolledQueue) {
        guard !queue.isHot, queue.state == .running else { return }
        queue.isHot = true
        queue.hotUntil = 0
        if queue.pollMode == .adaptive { queue.forecast.wakes(now: MonotonicClock.now()) }
        queue.disarm()
        hot.append(queue)
        noteTemperature(queue, change: 1)
    }

    func cool(_ queue: PolledQueue) {
        guard queue.isHot else { return }
        queue.isHot = false
        hot.remove(queue)
        noteTemperature(queue, change: -1)
    }

    private func noteTemperature(_ queue: PolledQueue, change: Int) {
        hasCool = hot.count < queues.count
        if queue.pollMode == .interrupt { impatientCount += change }
    }

    /// Arms the hot queues whose spin time is over.
    private func coolIdleQueues(now: UInt64) {
        var index = 0
        while index < hot.count {
            let stays = hot.with(index) { queue in staysHot(queue, now) }
            if stays { index += 1 }
        }
    }

    private func staysHot(_ queue: PolledQueue, _ now: UInt64) -> Bool {
        if queue.kick == nil || queue.pollMode == .busy { return true }
        // Its completions do not wake anybody.
        if queue.pollsCompletions, queue.inFlight > 0 { return true }
        if queue.hotUntil == 0, queue.pollMode == .adaptive {
            queue.hotUntil = queue.forecast.begin(now: now, hasRequestsInFlight: queue.inFlight > 0)
        }
        if now < queue.hotUntil { return true }
        // Armed first, looked at after: a chain that came in between is seen here, a later one brings a kick.
        if queue.arm() {
            queue.disarm()
            queue.noteWork()
            return true
        }
        if queue.pollMode == .adaptive { queue.forecast.sleeps() }
        cool(queue)
        return false
    }

    /// Tells the engines whether this poller ever sleeps: if not, they need not wake it.
    func updateWaking() {
        let neverSleeps = queues.values.contains { $0.state == .running && ($0.kick == nil || $0.pollMode == .busy) }
        for index in 0..<engines.count { engines.with(index) { $0.wakesPoller = !neverSleeps } }
    }

    // MARK: Waiting

    private func checkBetweenBatches() {
        let now = MonotonicClock.now()
        coolIdleQueues(now: now)
        checkTimes(now)
        if hasCool { takeEvents(timeoutNanoseconds: 0) }
    }

    @inline(__always)
    private func idle() {
        PollerGauges.add(1, to: poller.gauges.idleLoops)
        idleTurns &+= 1
        if hot.count == 0 || impatientCount > 0 || idleTurns % Self.idleTurnsPerCheck == 0 { checkWhileIdle() }
    }

    @inline(never)
    private func checkWhileIdle() {
        let now = MonotonicClock.now()
        coolIdleQueues(now: now)
        checkTimes(now)
        if hot.count == 0 {
            // What an engine ended at once, without the kernel, wakes nobody.
            if queues.values.contains(where: \.hasCompletions) { return completeAll() }
            // Pinned between turns, a piece at a time, until all is.
            if let registrations, registrations.isPending { return }
            // An engine that has something finished already must be reaped first; one that has not will make its descriptor readable.
            for index in 0..<engines.count where !engines.with(index, { $0.prepareToSleep() }) { return }
            PollerGauges.add(1, to: poller.gauges.sleeps)
            for queue in queues.values { queue.publishGauges() }
            let next = min(nextRetry, nextNotification)
            takeEvents(timeoutNanoseconds: next == .max ? -1 : Int64(clamping: next &- min(now, next)))
        } else if idleTurns % Self.turnsPerCheck == 0 {
            if hasCool { takeEvents(timeoutNanoseconds: 0) }
            yieldToTheKernel()
        }
    }

    /// Lets the kernel's own thread of this core run, if some of what it was given is not done: a file system ends direct I/O in a worker
    /// that is bound to the core (ext4's `dio`), and a pinned poller that spins for that very end would keep it waiting for the
    /// scheduler's next slice, a second at worst.
    private func yieldToTheKernel() {
        for index in 0..<engines.count where engines.with(index, { $0.inFlight }) > 0 { return SpinHint.yield() }
    }

    private func takeEvents(timeoutNanoseconds: Int64) {
        let count = unsafe epoll.wait(into: ready, timeoutNanoseconds: timeoutNanoseconds)
        for index in 0..<count {
            let token = unsafe ready[index].token
            // The mailbox's flag is looked at in each turn, and engines in the next one: only kicks carry news here.
            if token == Self.wakeToken { poller.wasWoken() }
            guard token < Self.engineToken, let queue = queues[token], let kick = queue.kick else { continue }
            switch atPeer({ EventFD.take(raw: kick.rawValue) }) {
            case .taken: heat(queue)  // a pipe whose other end is closed is readable for ever and never kicks again
            case .ended: loseKick(queue, kick, "was closed by the front-end")
            case .failed(let number): loseKick(queue, kick, "cannot be read: \(SystemError("read", errno: number).name)")
            }
        }
    }

    private func loseKick(_ queue: PolledQueue, _ kick: FileDescriptor, _ reason: String) {
        epoll.remove(kick.rawValue)
        if queue.state == .running { fail(queue, "the kick descriptor \(reason)") }
    }

    /// Does something with a front-end's descriptor that may wait; ``PollerWatch`` ends it if it does.
    private func atPeer<Result>(_ body: () -> Result) -> Result {
        PollerGauges.add(1, to: poller.gauges.peerCalls)
        defer { PollerGauges.add(1, to: poller.gauges.peerCalls) }
        return body()
    }
}
