import CLinux
import Glibc

/// Which system calls vhublkd makes, and what for: the data of its filters. Whatever is not here is refused.
///
/// seccomp is per thread and inherited: the list of the process holds in every thread; pollers, which read what guests write, and workers keep
/// less of it. There is no execve, ptrace, process_vm_readv, mount, bpf, kill or module call in any list, no socket but Unix ones, no new
/// process, and no memory that is writable and executable.
public enum SystemCallLists {
    /// Which part of the daemon a thread is.
    public enum Role: Sendable, CaseIterable {
        /// The control thread, the main thread that waits for it, and threads of Swift's runtime.
        case process
        /// Pollers and the threads that do the slow operations of backings: they handle what guests write.
        case poller
        /// Workers: they open and look up, and wait for disks.
        case worker
    }

    /// The calls of a role, those of its hottest path first.
    public static func rules(for role: Role) -> [SystemCallRule] {
        switch role {
        case .process:
            // A call has one rule: what a thread asks of devices and what the control thread asks of a userfaultfd are in one.
            transfers + [SystemCallRule("ioctl", .isOneOf(argument: 1, diskRequests + pageRequests))] + everyThread + rings + files
                + sockets
                + listening + controlThread
        case .poller: transfers + [disks] + everyThread
        case .worker: files + everyThread + transfers + [disks] + rings + sockets
        }
    }

    /// Block devices: size, block sizes, discard, zeroes, secure erase. No other request: none that passes SCSI or NVMe commands through.
    static let disks = SystemCallRule("ioctl", .isOneOf(argument: 1, diskRequests))

    /// Reading and writing disks.
    static let transfers: [SystemCallRule] = [
        // The engines. What an io_uring does itself is no system call: each is restricted to what its engine does when it is enabled.
        "io_uring_enter", "io_submit", "io_getevents", "io_pgetevents", "io_cancel",
        // A ring is enabled, and libaio's context made, by the poller that uses it.
        "io_uring_register", "io_setup", "io_destroy",
        // Slow operations, and the probe for NOWAIT.
        "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "fallocate", "fdatasync", "fsync", "sync_file_range",
    ]

    /// Making rings: the control thread does it for pollers, which could make one without restrictions, and workers see whether the kernel
    /// allows it.
    static let rings: [SystemCallRule] = ["io_uring_setup"]

    /// What any thread does: waiting, memory, locks, its own affairs.
    static let everyThread: [SystemCallRule] = [
        // Event loops and wake-ups.
        "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "epoll_create1", "eventfd2", "poll", "ppoll",
        "read", "write", "readv", "writev", "close", "fcntl", "lseek", "fstat",
        // Locks and time.
        "futex", "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "restart_syscall", "membarrier",
        // Memory, never writable and executable at once, and nothing made executable later. Guest memory is mapped, its pages are asked for and
        // placed on their node.
        SystemCallRule("mmap", .lacksSome(argument: 2, UInt32(PROT_WRITE | PROT_EXEC))),
        SystemCallRule("mprotect", .lacksSome(argument: 2, UInt32(PROT_EXEC))),
        "munmap", "mremap", "madvise", "brk", "mincore", "mlock", "munlock",
        "mbind", "set_mempolicy", "get_mempolicy", "move_pages",
        // Threads: starting them (clone3, whose flags a filter cannot see, is answered with ENOSYS, and glibc takes clone), CPUs, names, ends.
        SystemCallRule("clone", .hasAll(argument: 0, threadFlags)), "clone3",
        "sched_getaffinity", "sched_setaffinity", "sched_yield", "getcpu", "gettid", "getpid", "set_robust_list", "set_tid_address", "rseq",
        // Swift's own threads give themselves a priority and a timer.
        "setpriority", "timerfd_create", "timerfd_settime",
        "exit", "exit_group", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "sigaltstack", "getrusage",
        SystemCallRule("prctl", .isOneOf(argument: 0, processRequests)),
        // abort(3): a signal to ourselves.
        SystemCallRule("tgkill", .isOneOf(argument: 0, [UInt32(getpid())])),
        // What the C library asks.
        "getrandom", "uname", "sysinfo", "getuid", "geteuid", "getgid", "getegid",
        // Limits are read, not set: the new limit is NULL, the process is ourselves.
        SystemCallRule("prlimit64", .isZero(argument: 0), .isZero(argument: 2)), "getrlimit",
        // A thread may give up more, and only more.
        "seccomp",
    ]

    /// Opening backings, reading what the kernel tells of them in /sys and /proc, the state directory, names of groups.
    static let files: [SystemCallRule] = [
        "openat", "open", "newfstatat", "stat", "lstat", "statx", "statfs", "fstatfs", "access", "faccessat", "faccessat2",
        "readlink", "readlinkat", "getdents64", "getcwd", "dup", "flock", "ftruncate", "fadvise64",
        "rename", "renameat", "renameat2", "unlink", "unlinkat", "mkdir", "mkdirat",
        // Mode and group of sockets.
        "chmod", "fchmod", "fchmodat", "lchown", "fchownat",
    ]

    /// Unix sockets: a directory of groups (nscd, sssd) is asked over one.
    static let sockets: [SystemCallRule] = [
        SystemCallRule("socket", .isOneOf(argument: 0, [UInt32(AF_UNIX)])),
        "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "getsockopt", "setsockopt", "getsockname", "getpeername", "shutdown",
    ]

    /// Sockets that others connect to.
    static let listening: [SystemCallRule] = [
        "accept4", "bind", "listen", SystemCallRule("socketpair", .isOneOf(argument: 0, [UInt32(AF_UNIX)])),
    ]

    /// What only the control thread does: signals as a descriptor, the inflight region as a memory file, waiting for pages of guests that move
    /// here by post-copy. Of userfaultfds only the kind that needs no privilege: O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY.
    static let controlThread: [SystemCallRule] = [
        "signalfd4", "memfd_create", SystemCallRule("userfaultfd", .isOneOf(argument: 0, [UInt32(O_CLOEXEC | O_NONBLOCK | 1)])),
    ]

    /// Calls whose absence the C library can live with, where a refusal would stop it.
    static let missing = ["clone3"]

    /// The newest call that was looked at for these lists (Linux 6.10: mseal). Newer ones fail with ENOSYS, as on an older kernel, so that a
    /// newer C library finds its way.
    static let newest: UInt32 = 462

    /// CLONE_VM | CLONE_SIGHAND | CLONE_THREAD: a thread, not a process.
    private static let threadFlags: UInt32 = 0x100 | 0x800 | 0x10000

    /// PR_SET_NAME, PR_GET_DUMPABLE, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS, PR_SET_VMA (malloc naming its memory), PR_GET_PDEATHSIG (builds
    /// that measure coverage).
    private static let processRequests: [UInt32] = [15, 3, 21, 39, 0x5356_4d41, 2]

    private static let diskRequests = (0..<clinux_ioctl_request_count()).map { clinux_ioctl_request($0) }
    private static let pageRequests = (0..<clinux_page_request_count()).map { clinux_page_request($0) }
}
