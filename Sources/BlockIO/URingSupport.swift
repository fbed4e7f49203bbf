import CLibURing
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
}
