import LinuxSystem

/// Tells a service manager how the daemon is (sd_notify(3)), with no library: a datagram to the socket that NOTIFY_SOCKET names.
@ControlActor
final class ServiceNotifier {
    private let address: String?
    private let watchdogIntervalNanoseconds: UInt64?
    private var watchdog: TimerRegistration?

    /// Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID from `environment`.
    init(environment: (String) -> String? = ProcessSelf.environment) {
        address = environment("NOTIFY_SOCKET").flatMap { $0.hasPrefix("/") || $0.hasPrefix("@") ? $0 : nil }
        let isMeant = environment("WATCHDOG_PID").map { $0 == "\(ProcessSelf.identifier)" } ?? true
        let microseconds = environment("WATCHDOG_USEC").flatMap(UInt64.init) ?? 0
        // Half the time that is given, as sd_watchdog_enabled(3) advises.
        watchdogIntervalNanoseconds = isMeant && microseconds > 0 && microseconds < UInt64.max / 1000 ? microseconds * 500 : nil
    }

    /// The sockets are there: what depends on this service may start.
    func ready(status: String) {
        send("READY=1\nSTATUS=\(status)")
        if address != nil, watchdogIntervalNanoseconds != nil { feedWatchdog() }
    }

    /// The configuration is read again.
    func reloading() { send("RELOADING=1\nMONOTONIC_USEC=\(MonotonicClock.now() / 1000)") }

    /// The daemon ends.
    func stopping() {
        watchdog?.cancel()
        send("STOPPING=1")
    }

    /// The control loop runs: a loop that hangs stops telling, and the service manager acts.
    private func feedWatchdog() {
        guard let interval = watchdogIntervalNanoseconds else { return }
        send("WATCHDOG=1")
        watchdog = EventLoop.control.after(nanoseconds: interval) { [weak self] in self?.feedWatchdog() }
    }

    private func send(_ text: String) {
        guard let address else { return }
        // A manager that does not take the message must not stop the daemon.
        try? ProcessSelf.sendDatagram(text, to: address)
    }
}
