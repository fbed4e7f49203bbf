import CLinux
import Glibc

/// Signals are taken by the control loop through a signalfd, never by handlers; for that they are blocked in every thread.
public enum Signals {
    /// Blocks `signals` in the calling thread and those it starts later. Call it in main before any other thread exists.
    public static func block(_ signals: [Int32]) {
        _ = clinux_signal_mask(SIG_BLOCK, mask(signals))
    }

    /// Blocks all signals but those that report a fault of the thread itself, which cannot be delayed.
    static func blockAll() {
        _ = clinux_signal_mask(SIG_BLOCK, ~mask([SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS]))
    }

    /// A descriptor from which the blocked `signals` are read.
    static func descriptor(for signals: [Int32]) throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try SystemError.check(clinux_signalfd(mask(signals)), "create a signalfd"))
    }

    /// The next pending signal of a `descriptor(for:)`, or nil.
    static func next(_ descriptor: FileDescriptor) -> Int32? {
        let number = clinux_signalfd_read(descriptor.rawValue)
        return number > 0 ? number : nil
    }

    private static func mask(_ signals: [Int32]) -> UInt64 {
        signals.reduce(0) { $0 | 1 << UInt64($1 - 1) }
    }
}
