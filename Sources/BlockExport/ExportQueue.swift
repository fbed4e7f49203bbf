internal import LinuxSystem
internal import VhostUser
internal import Virtio

/// The control side of one queue: its counters, and the poller that runs its ring while it runs.
///
/// A ring that is stopped waits for its requests in flight, up to the drain time-out. What the kernel has not finished by then is abandoned:
/// the ring is given back at once and never touched again, while the memory that the kernel may still write to stays mapped. A later start
/// of any ring of the export waits for the end of abandoned requests, since a write of theirs could otherwise land after a newer one, or
/// after a read that did not see it, by a guest that was reset and knows of no such write.
@ControlActor
final class ExportQueue {
    /// Which queue of which export.
    let identity: QueueIdentity
    /// Counters since the export was made.
    let counters: QueueCounters
    /// Told, in words, when requests are abandoned and when the last of them ended.
    var onNotice: (@ControlActor (String) -> Void)?

    /// What of the guest's memory is registered with io_uring for it.
    var registration = MemoryRegistration(bytes: 0)

    private let drainTimeoutNanoseconds: UInt64
    private var state = State.stopped
    /// Stopped rings whose abandoned requests the kernel still has.
    private(set) var abandonedCount = 0
    /// The poller was asked to give the ring back.
    private var isStopping = false
    /// The ring was started, but the backing's lock is not ours yet.
    private var waitsForLock = false
    /// Told when the last abandoned request of this queue has ended; rings of the export may wait for that, see ``beginIfReady()``.
    var onAbandonedEnded: (@ControlActor () -> Void)?
    /// Whether any queue of the export has abandoned requests.
    var exportHasAbandonedRequests: @ControlActor () -> Bool = { false }
    /// Why the ring broke, until it is started anew: the session stops a broken ring.
    private var lastFailure: String?
    private static var nextToken: UInt64 = 1

    private enum State {
        case stopped
        /// Started, but abandoned requests have not ended, or somebody else has the backing: how the ring begins then.
        case waiting(Running, Beginning)
        case running(Running)
        /// On the way to another poller: what is to be done when it has arrived, or stays.
        case moving(Running, [@ControlActor () -> Void])
        case failed(Running, reason: String)
    }

    /// A ring that a poller has, or will have.
    struct Running: Sendable {
        var poller: Poller
        var place: PollerStatus.QueuePlace
        var token: UInt64
        var ringSize: Int
        var isPacked: Bool
        var memoryNode: Int?
        /// The base to answer with when the poller could not even begin.
        var startBase: RingBase
    }

    /// How a ring begins. While it waits to, each change of the front-end's takes the place of the one before: none is kept twice.
    struct Beginning {
        var setup: QueueSetup
        /// The ring may not be looked at until its memory is replaced.
        var isSuspended = false
        /// Stops the ring as soon as it has begun: it owes earlier requests to the driver.
        var stop: (@ControlActor () -> Void)?
    }

    init(identity: QueueIdentity, drainTimeoutNanoseconds: UInt64) throws(SystemError) {
        self.identity = identity
        self.drainTimeoutNanoseconds = drainTimeoutNanoseconds
        counters = try QueueCounters()
    }

    /// The state in a word, with the reason of a failure.
    var stateText: String {
        switch state {
        case .stopped: lastFailure.map { "failed: \($0)" } ?? (abandonedCount > 0 ? "stopped, requests abandoned" : "stopped")
        case .waiting: waitsForLock ? "waiting for the backing" : "waiting for abandoned requests"
        case .running: "running"
        case .moving: "moving"
        case .failed(_, let reason): "failed: \(reason)"
        }
    }

    /// The ring's whereabouts, from start to stop.
    var running: Running? {
        switch state {
        case .stopped: nil
        case .waiting(let running, _), .running(let running), .moving(let running, _), .failed(let running, _): running
        }
    }

    // MARK: Start and stop

    /// Gives the ring to a poller, which looks at it at once; or, with `waitsForLock`, at ``lockTaken()``.
    func start(_ setup: QueueSetup, on poller: Poller, place: PollerStatus.QueuePlace, memoryNode: Int?, waitsForLock: Bool) {
        guard case .stopped = state else { preconditionFailure("ring \(identity) was started twice") }
        let token = Self.nextToken
        Self.nextToken += 1
        lastFailure = nil
        registration = MemoryRegistration(bytes: 0)
        let running = Running(
            poller: poller, place: place, token: token, ringSize: setup.ring.size,
            isPacked: setup.ring.features.contains(.ringPacked), memoryNode: memoryNode, startBase: setup.ring.base)
        self.waitsForLock = waitsForLock
        state = .waiting(running, Beginning(setup: setup))
        beginIfReady()
    }

    /// Makes a poller run the ring.
    private static func begin(_ beginning: Beginning, _ token: UInt64, on poller: Poller) {
        let (setup, isSuspended) = (beginning.setup, beginning.isSuspended)
        poller.prepare(for: setup.disk.choice)
        poller.post { loop in
            do {
                try loop.add(setup.makeQueue(on: loop), token: token)
                if isSuspended { loop.suspend(token) }
            } catch {
                setup.onFailure("\(error)")
            }
        }
    }

    /// Remembers that the poller gave the ring up; it stays there until it is stopped.
    func fail(_ reason: String) {
        switch state {
        case .running(let running):
            lastFailure = reason
            state = .failed(running, reason: reason)
        case .waiting(let running, let beginning):
            lastFailure = reason
            state = .failed(running, reason: reason)
            beginning.stop?()
        case .moving: afterMove { [self] in fail(reason) }
        case .stopped, .failed: break
        }
    }

    /// The backing is ours: a ring that waited for that starts.
    func lockTaken() {
        waitsForLock = false
        beginIfReady()
    }

    /// Takes the ring back once nothing is in flight, or after the drain time-out with what is abandoned then.
    ///
    /// A ring that waits to begin is stopped at once, unless it has earlier requests to do again: they are in flight, as those of a ring that
    /// runs. What is left of them after the time-out stays in the inflight region.
    func stop(_ mode: RingStop, completion: @escaping @ControlActor (RingBase) -> Void) {
        stop(mode, deadline: MonotonicClock.now() &+ drainTimeoutNanoseconds, completion: completion)
    }

    private func stop(_ mode: RingStop, deadline: UInt64, completion: @escaping @ControlActor (RingBase) -> Void) {
        guard let running else { preconditionFailure("ring \(identity) does not run") }
        let now = MonotonicClock.now()
        let timeLeft = deadline > now ? deadline - now : 0
        if case .waiting(_, var beginning) = state {
            let giveBack = { @ControlActor [self] in
                state = .stopped
                completion(running.startBase)
            }
            guard mode == .drain, beginning.setup.ring.mayHaveEarlierRequests else { return giveBack() }
            let timer = EventLoop.control.after(nanoseconds: timeLeft) { giveBack() }
            beginning.stop = { [self] in
                timer.cancel()
                stop(mode, deadline: deadline, completion: completion)
            }
            state = .waiting(running, beginning)
            return
        }
        if case .moving = state { return afterMove { [self] in stop(mode, deadline: deadline, completion: completion) } }
        isStopping = true
        let timer = EventLoop.control.after(nanoseconds: timeLeft) { [self] in abandon(running) }
        let reply = HandedOver<@ControlActor (RingBase) -> Void> { base in
            timer.cancel()
            self.state = .stopped
            self.isStopping = false
            completion(base)
        }
        running.poller.post { loop in
            loop.stop(running.token, mode) { base in
                let base = base ?? running.startBase
                ControlActor.post { reply.value(base) }
            }
        }
    }

    private func abandon(_ running: Running) {
        let done = HandedOver<@ControlActor () -> Void> { [self] in abandonedEnded() }
        let begun = HandedOver<@ControlActor (Int) -> Void> { [self] count in
            abandonedCount += 1
            onNotice?("queue \(identity.index): \(count) requests did not end within the drain time-out and were abandoned")
        }
        running.poller.post { loop in
            loop.abandon(
                running.token, begun: { count in ControlActor.post { begun.value(count) } }, ended: { ControlActor.post { done.value() } })
        }
    }

    private func abandonedEnded() {
        abandonedCount -= 1
        onNotice?("queue \(identity.index): abandoned requests have ended")
        if abandonedCount == 0 { onAbandonedEnded?() }
    }

    /// Has a ring that waits begin, when there is nothing more to wait for.
    func beginIfReady() {
        guard !exportHasAbandonedRequests(), !waitsForLock, case .waiting(let running, let beginning) = state else { return }
        state = .running(running)
        Self.begin(beginning, running.token, on: running.poller)
        beginning.stop?()
    }

    // MARK: Moves

    /// How long a move waits for the requests in flight, during which no new ones are taken.
    private static let moveNanosecondsMax: UInt64 = 500_000_000

    /// Whether the ring is with a poller and nothing else is being done to that.
    var isMovable: Bool {
        if case .running = state { !isStopping } else { false }
    }

    /// Gives a movable ring to another poller. Whatever else is asked of the queue meanwhile is done when it has arrived, in order.
    ///
    /// - Parameter completion: told whether the ring moved; false when its requests in flight did not end soon enough.
    func move(to poller: Poller, place: PollerStatus.QueuePlace, completion: @escaping @ControlActor (Bool) -> Void) {
        guard isMovable, case .running(let running) = state else { preconditionFailure("ring \(identity) cannot move") }
        state = .moving(running, [])
        let timer = EventLoop.control.after(nanoseconds: Self.moveNanosecondsMax) {
            running.poller.post { loop in loop.stay(running.token) }
        }
        let left = HandedOver<@ControlActor (QueueSetup?) -> Void> { [self] setup in
            timer.cancel()
            guard case .moving(_, let later) = state else { preconditionFailure("nothing ends a move but its end") }
            var next = running
            if let setup {
                (next.poller, next.place, next.startBase) = (poller, place, setup.ring.base)
                Self.begin(Beginning(setup: setup), running.token, on: poller)
            }
            state = .running(next)
            completion(setup != nil)
            for action in later { action() }
        }
        running.poller.post { loop in
            loop.leave(running.token) { setup in ControlActor.post { left.value(setup) } }
        }
    }

    private func afterMove(_ action: @escaping @ControlActor () -> Void) {
        guard case .moving(let running, let later) = state else { preconditionFailure("ring \(identity) does not move") }
        state = .moving(running, later + [action])
    }

    /// Does something with the queue on its poller, if it is there, and calls back.
    ///
    /// - Parameter change: what the same means for a ring that has not begun yet; nothing where its begin does it anyway.
    func onPoller(
        _ body: @escaping @Sendable (PollerLoop, UInt64) -> Void, beforeBegin change: @escaping (inout Beginning) -> Void = { _ in },
        completion: @escaping @ControlActor () -> Void
    ) {
        // The poller gave the ring back, and only the session has not heard of it: the backing's lock is on its way back.
        guard let running else { return completion() }
        if case .waiting(_, var beginning) = state {
            change(&beginning)
            state = .waiting(running, beginning)
            return completion()
        }
        if case .moving = state { return afterMove { [self] in onPoller(body, beforeBegin: change, completion: completion) } }
        let reply = HandedOver(completion)
        running.poller.post { loop in
            body(loop, running.token)
            ControlActor.post { reply.value() }
        }
    }
}

/// A value that crosses to another thread and back without being touched on the way.
struct HandedOver<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
