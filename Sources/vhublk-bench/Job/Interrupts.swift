import LinuxSystem
import Synchronization

/// Counts SIGINT, so that an interrupted run still shows what it measured.
enum Interrupts {
    private static let total = Atomic<Int>(0)
    @ControlActor private static var registration: Registration?

    /// How often the run was interrupted.
    static var count: Int { total.load(ordering: .relaxed) }

    /// Begins to count; call it before any other thread starts.
    static func watch() {
        Signals.block([Signals.interrupt])
        ControlActor.post {
            // Without a signalfd an interrupt is blocked and lost; the run ends by itself.
            registration = try? EventLoop.control.register(signals: [Signals.interrupt]) { _ in
                total.add(1, ordering: .relaxed)
            }
        }
    }
}
