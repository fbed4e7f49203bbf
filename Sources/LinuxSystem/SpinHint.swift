import CLinux
import Glibc

/// Spinning that leaves the core's other hardware thread some of it.
public enum SpinHint {
    /// Tells the processor that the calling thread spins.
    public static func pause() { clinux_cpu_relax() }

    /// Lets another thread that waits for this core run first; returns at once where there is none. One system call.
    public static func yield() { _ = sched_yield() }
}
