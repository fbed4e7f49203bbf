internal import LinuxSystem

/// Tells of an export that requests are held, and that they are no more: once each, however many queues it has and however often the
/// backing changes its mind meanwhile. Control thread only.
@ControlActor
final class HoldWatch {
    /// How long nothing must be held before that is told.
    private static let quietNanoseconds: UInt64 = 1_000_000_000

    private let counters: [QueueCounters]
    private let tell: @ControlActor (ExportEvent) -> Void
    private var holding: Set<Int> = []
    /// When `held` was told, on the monotonic clock; nil while nothing is.
    private var toldAt: UInt64?
    /// What the counters had before that.
    private var before: (requests: UInt64, timeouts: UInt64) = (0, 0)
    private var quiet: TimerRegistration?

    init(counters: [QueueCounters], tell: @escaping @ControlActor (ExportEvent) -> Void) {
        self.counters = counters
        self.tell = tell
    }

    /// A queue began or ended to hold requests.
    func note(_ change: HoldChange, queue: Int) {
        switch change {
        case .began:
            holding.insert(queue)
            quiet?.cancel()
            quiet = nil
            guard toldAt == nil else { return }
            toldAt = MonotonicClock.now()
            tell(.held(error: SystemError("", errno: Int32(clamping: counters[queue].read(.heldError))).reason))
        case .ended:
            holding.remove(queue)
            guard holding.isEmpty, toldAt != nil else { return }
            quiet?.cancel()
            quiet = EventLoop.control.after(nanoseconds: Self.quietNanoseconds) { [weak self] in self?.tellEnd() }
        }
    }

    private func tellEnd() {
        guard let began = toldAt, holding.isEmpty else { return }
        let now = (requests: sum(.heldTotal), timeouts: sum(.holdTimeouts))
        tell(
            .holdEnded(
                requests: now.requests - before.requests, timeouts: now.timeouts - before.timeouts,
                nanoseconds: MonotonicClock.now() - began - Self.quietNanoseconds))
        before = now
        toldAt = nil
        quiet = nil
    }

    private func sum(_ word: QueueCounters.Word) -> UInt64 { counters.reduce(0) { $0 &+ $1.read(word) } }
}
