import CLibURing
import Glibc
public import LinuxSystem

/// Whether this process may use io_uring; the administrator (kernel.io_uring_disabled), a seccomp filter or the kernel's build may forbid it.
public enum URingSupport {
    /// nil when it may; otherwise what the kernel says. Asked anew each time, since the setting can change.
    public static func refusal() -> SystemError? {
        var ring = unsafe io_uring()
        let status = unsafe io_uring_queue_init(2, &ring, 0)
        if status < 0 { return SystemError("set up io_uring", errno: status) }
        unsafe io_uring_queue_exit(&ring)
        return nil
    }

    /// Whether the kernel holds rings to what engines do.
    public enum Restriction: Equatable, Sendable {
        /// It does: an operation that no engine makes was refused.
        case active
        /// It does not, for that reason.
        case missing(String)
        /// There are no rings here.
        case noRings(String)
    }

    /// Tries a ring as engines make it.
    public static func restriction() -> Restriction {
        var ring: URingRing
        do throws(SystemError) { ring = try URingRing(depth: 1) } catch { return .noRings(error.reason) }
        defer { ring.destroy() }
        do throws(SystemError) { try ring.enable() } catch { return .missing("\(error)") }
        guard ring.isRestricted else { return .missing("Linux 5.10 and later can") }
        let answer = ring.answer(to: UInt8(IORING_OP_OPENAT.rawValue))
        return answer == -EACCES ? .active : .missing("a ring opens files in spite of it (\(answer))")
    }
}
