internal import LinuxSystem
internal import VhostUser
internal import Virtio

/// The control side of one queue: its counters, and the poller that runs its ring while it runs.
@ControlActor
final class ExportQueue {
    /// Which queue of which export.
    let identity: QueueIdentity
    /// Counters since the export was made.
    let counters: QueueCounters

    /// Whether the ring runs, and if so where.
    private(set) var state = State.stopped

    enum State {
        case stopped
        case running(Running)
        case failed(Running, reason: String)
    }

    /// A ring that a poller has.
    struct Running {
        var poller: Poller
        var place: PollerStatus.QueuePlace
        var token: UInt64
        var ringSize: Int
        var isPacked: Bool
        var memoryNode: Int?
        /// The base to answer with when the poller could not even begin.
        var startBase: RingBase
    }

    /// Why the ring broke, until it is started anew: the session stops a broken ring.
    private var lastFailure: String?
    private static var nextToken: UInt64 = 1

    init(identity: QueueIdentity) throws(SystemError) {
        self.identity = identity
        counters = try QueueCounters()
    }

    /// The state in a word, with the reason of a failure.
    var stateText: String {
        switch state {
        case .stopped: lastFailure.map { "failed: \($0)" } ?? "stopped"
        case .running: "running"
        case .failed(_, let reason): "failed: \(reason)"
        }
    }

    /// The ring's whereabouts, running or failed.
    var running: Running? {
        switch state {
        case .stopped: nil
        case .running(let running), .failed(let running, _): running
        }
    }

    /// Gives the ring to a poller, which looks at it at once.
    func start(_ setup: QueueSetup, on poller: Poller, place: PollerStatus.QueuePlace, memoryNode: Int?) {
        guard case .stopped = state else { preconditionFailure("ring \(identity) was started twice") }
        let token = Self.nextToken
        Self.nextToken += 1
        lastFailure = nil
        state = .running(
            Running(
                poller: poller, place: place, token: token, ringSize: setup.ring.size,
                isPacked: setup.ring.features.contains(.ringPacked), memoryNode: memoryNode, startBase: setup.ring.base))
        poller.post { loop in
            do {
                try loop.add(setup.makeQueue(on: loop), token: token)
            } catch {
                setup.onFailure("\(error)")
            }
        }
    }

    /// Remembers that the poller gave the ring up; it stays there until it is stopped.
    func fail(_ reason: String) {
        guard case .running(let running) = state else { return }
        lastFailure = reason
        state = .failed(running, reason: reason)
    }

    /// Takes the ring back once nothing is in flight.
    func stop(_ mode: RingStop, completion: @escaping @ControlActor (RingBase) -> Void) {
        guard let running else { preconditionFailure("ring \(identity) does not run") }
        let reply = HandedOver<@ControlActor (RingBase) -> Void> { base in
            self.state = .stopped
            completion(base)
        }
        running.poller.post { loop in
            loop.stop(running.token, mode) { base in
                let base = base ?? running.startBase
                ControlActor.post { reply.value(base) }
            }
        }
    }

    /// Does something with the queue on its poller, if it is there, and calls back.
    func onPoller(_ body: @escaping @Sendable (PollerLoop, UInt64) -> Void, completion: @escaping @ControlActor () -> Void) {
        guard let running else { preconditionFailure("ring \(identity) does not run") }
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
