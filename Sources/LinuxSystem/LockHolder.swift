import CLinux

/// Who keeps others from a lock of a whole file, as far as it can be seen from here.
///
/// The kernel names the process of a lock that belongs to a process. One that belongs to an open file, as QEMU's and ours, has no process:
/// /proc/PID/fdinfo shows the locks of what each process has open, to who may look into that process (ptrace(2), PTRACE_MODE_READ). A daemon
/// in its sandbox may not: landlock and the lack of CAP_SYS_PTRACE forbid it for all processes but itself (docs/sandbox.md).
public enum LockHolder: Equatable, Sendable {
    /// A process, by its number and the name of its program.
    case process(Int32, command: String)
    /// Nobody that could be seen, and there are processes that the kernel does not let this one look into.
    case hidden
    /// Nobody, of all processes there are here: somebody on another host or in another container, or a process that was killed and whose
    /// requests the kernel still carries out.
    case elsewhere

    /// Whether a living process was found.
    public var isProcess: Bool {
        if case .process = self { true } else { false }
    }

    /// What is said of it behind "PATH is in use": " by process 1234 (qemu-system-x86)".
    public var text: String {
        switch self {
        case .process(let number, let command): " by process \(number) (\(command))"
        case .hidden: "; the kernel does not let process \(ProcessSelf.identifier) see by whom"
        case .elsewhere:
            " by no process that is seen from here: on another host, in another container, or killed while its requests go on"
        }
    }

    /// Looks for who keeps an open file's lock from us: one for reading, or for writing. Slow: may look through all of /proc.
    public static func find(_ descriptor: FileDescriptor, forWriting: Bool) -> LockHolder {
        let owner = clinux_lock_owner(descriptor.rawValue, forWriting ? 1 : 0)
        if owner > 0 { return named(owner) }
        guard let status = try? descriptor.status() else { return .hidden }
        return find(status, forWriting: forWriting)
    }

    /// Looks for who holds a lock on a file that excludes one for reading, or for writing. Slow: looks through all of /proc.
    public static func find(_ file: FileStatus, forWriting: Bool) -> LockHolder {
        var answer = elsewhere
        for process in SystemFile.names(inFolder: "/proc") ?? [] {
            guard let number = Int32(process) else { continue }
            guard let open = SystemFile.names(inFolder: "/proc/\(process)/fdinfo") else {
                // It has ended meanwhile, or it is not for us.
                if ((try? FileStatus.atPath("/proc/\(process)")) ?? nil) != nil { answer = hidden }
                continue
            }
            if open.contains(where: { holds("/proc/\(process)", $0, file, forWriting: forWriting) }) { return named(number) }
        }
        return answer
    }

    /// Whether an open file of a process has a lock of that kind.
    private static func holds(_ process: String, _ number: String, _ file: FileStatus, forWriting: Bool) -> Bool {
        guard let text = SystemFile.text("\(process)/fdinfo/\(number)") else { return false }
        guard text.split(separator: "\n").contains(where: { isLock($0, onInode: file.inode, forWriting: forWriting) }) else { return false }
        // The lock's line names the file system in a form that differs between file systems; the file itself tells.
        let open = (try? FileStatus.atPath("\(process)/fd/\(number)", followsLinks: true)) ?? nil
        return open.map { $0.device == file.device } ?? true
    }

    /// Whether a line is "lock: 1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF" (proc(5)) of that inode. Locks of flock(2) and leases are
    /// others' affair; a lock for reading excludes writers only.
    static func isLock(_ line: Substring, onInode inode: UInt64, forWriting: Bool) -> Bool {
        let words = line.split { $0 == " " || $0 == "\t" }
        guard words.count >= 7, words[0] == "lock:", words[2] == "OFDLCK" || words[2] == "POSIX" else { return false }
        return words[6].hasSuffix(":\(inode)") && (forWriting || words[4] == "WRITE")
    }

    private static func named(_ number: Int32) -> LockHolder {
        .process(number, command: SystemFile.text("/proc/\(number)/comm") ?? "unknown")
    }
}
