import CLinux
import Glibc

/// A thread of its own, on one CPU where asked: pollers and the control loop run on these, never on Swift's cooperative pool.
///
/// All signals but those of a fault are blocked in it; the control loop takes them through a signalfd.
public final class PinnedThread: Sendable {
    /// What the new thread takes with it; lives until the thread has read it.
    private final class Start: Sendable {
        let name: String
        let isPinned: Bool
        let role: SystemCallLists.Role
        let body: @Sendable () -> Void
        init(name: String, isPinned: Bool, role: SystemCallLists.Role, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.isPinned = isPinned
            self.role = role
            self.body = body
        }
    }

    private let thread: pthread_t
    private let isJoined = Locked(false)

    /// Starts a thread that runs `body` once. `name` is cut to the 15 bytes Linux keeps; `cpu` fixes the thread to one CPU, which must be
    /// one the process may use. Without it the thread runs wherever the process's first thread may, whoever creates it. `role` says which
    /// system calls the thread keeps where the process filters them; a thread has at most those of the thread that starts it.
    public init(
        name: String, cpu: Int? = nil, role: SystemCallLists.Role = .process, body: @escaping @Sendable () -> Void
    ) throws(SystemError) {
        let start = unsafe Unmanaged.passRetained(Start(name: name, isPinned: cpu != nil, role: role, body: body))
        var thread = pthread_t()
        // The retained box is the new thread's; a C function pointer captures nothing, so it goes through the argument.
        let status = unsafe clinux_thread_create(&thread, Int32(cpu ?? -1), PinnedThread.enter, start.toOpaque())
        if status < 0 {
            unsafe start.release()
            throw SystemError("start thread \(name)" + (cpu.map { " on CPU \($0)" } ?? ""), errno: status)
        }
        self.thread = thread
    }

    deinit {
        if !isJoined.withLock({ $0 }) { pthread_detach(thread) }
    }

    /// Waits for the thread's end; more than one call is allowed, one after the other.
    public func join() {
        let mustJoin = isJoined.withLock { joined in
            defer { joined = true }
            return !joined
        }
        if mustJoin { _ = pthread_join(thread, nil) }
    }

    /// Makes system calls of the calling thread end early when ``interrupt()`` is called for it. For threads that may wait at a peer's
    /// descriptor, whose flags are not ours to set.
    public static func allowInterrupts() throws(SystemError) {
        try SystemError.check(clinux_thread_allow_interrupts(), "handle the interrupting signal")
    }

    /// Ends the system call in which the thread waits, if it waits in one and allows it; any other thread may call.
    public func interrupt() {
        isJoined.withLock { joined in
            if !joined { _ = clinux_thread_interrupt(thread) }
        }
    }

    /// Processor time the thread has used in nanoseconds, or 0 once it has ended and was joined; any thread may ask.
    public var cpuNanoseconds: UInt64 {
        isJoined.withLock { joined in
            var clock = clockid_t()
            var time = timespec()
            // unsafe: two out-parameters of this frame; the thread handle is valid until it is joined, which the lock excludes.
            guard !joined, unsafe pthread_getcpuclockid(thread, &clock) == 0, unsafe clock_gettime(clock, &time) == 0 else { return 0 }
            return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        }
    }

    private static let enter: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { argument in
        let start = unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
        Signals.blockAll()
        // A thread inherits its creator's CPUs, and a creator that is pinned must not have its helpers on its own CPU.
        if !start.isPinned, let cpus = CPUSet.ofProcess() { _ = unsafe clinux_set_affinity(0, cpus.words) }
        _ = unsafe clinux_thread_name(String(decoding: start.name.utf8.prefix(15), as: UTF8.self))
        ThreadFilters.enterThread(start.role)
        start.body()
        return nil
    }
}
