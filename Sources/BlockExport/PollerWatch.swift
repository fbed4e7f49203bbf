internal import LinuxSystem
internal import Synchronization

/// Frees pollers that are held up in a system call at a front-end's descriptor; control thread only.
///
/// A call descriptor may block, since the front-end may rely on that and the flag is everybody's who has the descriptor, and the counter
/// behind it may be full: then the poller's write waits until the front-end reads, and every other queue of the poller with it. So the control
/// thread looks now and then, while rings run, whether a poller is still in the same call as at the last look, and interrupts it. The poller
/// drops the descriptor (a full counter carries the notification already) and counts a stall, for which the export sends the front-end away.
@ControlActor
final class PollerWatch {
    /// Time between two looks: a poller is held up for twice as long at most.
    static let periodNanoseconds: UInt64 = 20_000_000

    /// The calls of a poller as they stood at the last look.
    private struct Look {
        var calls: UInt64
        var wasInterrupted: Bool
    }

    private var looks: [ObjectIdentifier: Look] = [:]
    private var timer: TimerRegistration?

    /// Looks from now on, as long as `pollers` says that there are some; `onFreed` is told each poller that was interrupted.
    func start(pollers: @escaping @ControlActor () -> [Poller], onFreed: @escaping @ControlActor (Poller) -> Void) {
        guard timer == nil else { return }
        timer = EventLoop.control.after(nanoseconds: Self.periodNanoseconds) { [self] in
            timer = nil
            let running = pollers()
            guard !running.isEmpty else {
                looks = [:]
                return
            }
            for poller in running where look(at: poller) { onFreed(poller) }
            start(pollers: pollers, onFreed: onFreed)
        }
    }

    /// Interrupts the poller if it is stuck; whether it was interrupted before and has come free.
    private func look(at poller: Poller) -> Bool {
        let calls = poller.gauges.peerCalls.load(ordering: .relaxed)
        let last = looks[ObjectIdentifier(poller)]
        // Odd: it is in a call; the same number: in the same one.
        let isStuck = calls % 2 == 1 && last?.calls == calls
        if isStuck { poller.interrupt() }
        looks[ObjectIdentifier(poller)] = Look(calls: calls, wasInterrupted: isStuck)
        return last?.wasInterrupted == true && !isStuck
    }
}
