import CLinux
import Glibc

/// What this process is and may do.
public enum ProcessSelf {
    /// Its process id.
    public static var identifier: Int32 { getpid() }
    /// Its effective user.
    public static var user: UInt32 { geteuid() }
    /// Its effective group.
    public static var group: UInt32 { getegid() }

    /// The kernel's release, as `uname -r` prints it.
    public static var kernelRelease: String {
        var name = utsname()
        guard unsafe uname(&name) == 0 else { return "unknown" }
        return unsafe withUnsafeBytes(of: &name.release) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// A variable of the environment; nil when it is not set or empty.
    public static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        let text = unsafe String(cString: value)
        return text.isEmpty ? nil : text
    }

    /// Keeps later children from inheriting a variable.
    public static func removeEnvironment(_ name: String) { _ = unsafe unsetenv(name) }

    /// Leaves no core file and lets nobody trace the process but root: guest data would be in both.
    public static func forbidDumps() throws(SystemError) {
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        if unsafe setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) != 0 {
            throw SystemError("set RLIMIT_CORE to 0", errno: errno)
        }
        try SystemError.check(clinux_set_dumpable(0), "forbid core dumps and tracing")
    }

    /// Whether core files and tracing are forbidden now.
    public static var forbidsDumps: Bool { clinux_get_dumpable() == 0 }

    /// Raises the limit of open descriptors as far as the system allows and returns it.
    public static func raiseDescriptorLimit() throws(SystemError) -> UInt64 {
        try raise(RLIMIT_NOFILE.rawValue, "RLIMIT_NOFILE", mayPassMaximum: false)
    }

    /// Raises the limit of memory that the kernel may keep for us, io_uring's buffers: to any amount for who has CAP_SYS_RESOURCE, for others
    /// as far as the system allows.
    public static func raiseLockedMemoryLimit() throws(SystemError) {
        // RLIMIT_MEMLOCK, which glibc shows to _DEFAULT_SOURCE only.
        _ = try raise(8, "RLIMIT_MEMLOCK", mayPassMaximum: true)
    }

    private static func raise(_ number: UInt32, _ name: String, mayPassMaximum: Bool) throws(SystemError) -> UInt64 {
        var limit = rlimit()
        let resource = __rlimit_resource_t(number)
        if unsafe getrlimit(resource, &limit) != 0 { throw SystemError("read \(name)", errno: errno) }
        if mayPassMaximum {
            var unlimited = rlimit(rlim_cur: rlim_t.max, rlim_max: rlim_t.max)
            if unsafe setrlimit(resource, &unlimited) == 0 { return UInt64(rlim_t.max) }
        }
        limit.rlim_cur = limit.rlim_max
        if unsafe setrlimit(resource, &limit) != 0 { throw SystemError("raise \(name)", errno: errno) }
        return UInt64(limit.rlim_cur)
    }

    /// Forbids for good that this process, or a program it would start, gains privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
    public static func forbidNewPrivileges() throws(SystemError) {
        try SystemError.check(clinux_forbid_new_privileges(), "forbid new privileges")
    }

    /// Whether that holds for the calling thread.
    public static var forbidsNewPrivileges: Bool { clinux_forbids_new_privileges() == 1 }

    /// Whether the calling thread's system calls are filtered.
    public static var filtersSystemCalls: Bool { clinux_filter_mode() == 2 }

    /// Sends a datagram to the Unix socket `address` without waiting; a leading `@` names an abstract one (sd_notify(3)).
    public static func sendDatagram(_ text: String, to address: String) throws(SystemError) {
        var name = Array(address.utf8)
        if name.first == UInt8(ascii: "@") { name[0] = 0 }
        let bytes = Array(text.utf8)
        let status = unsafe name.withUnsafeBytes { name in
            unsafe bytes.withUnsafeBytes { unsafe clinux_send_datagram(name.baseAddress, name.count, $0.baseAddress, $0.count) }
        }
        try SystemError.check(status, "send to \(address)")
    }

    /// Whether `descriptor` is open.
    public static func isOpen(_ descriptor: Int32) -> Bool { clinux_get_flags(descriptor) >= 0 }

    /// Makes the calling thread sleep: for programs with nothing else to do.
    public static func sleep(nanoseconds: UInt64) {
        var wanted = timespec(tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
        var left = timespec()
        while unsafe nanosleep(&wanted, &left) != 0, errno == EINTR { wanted = left }
    }
}
