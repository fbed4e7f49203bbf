import LinuxSystem

/// Finds who holds a lock. The kernel does not say for locks that belong to open files, but /proc shows each process's.
enum LockHolder {
    /// "process 1234 (qemu-system-x86)", or nil when the process cannot be seen from here. Slow: looks through /proc.
    static func find(_ descriptor: FileDescriptor) -> String? {
        guard let status = try? descriptor.status() else { return nil }
        let locked = ":\(status.inode) "
        for process in SystemFile.names(inFolder: "/proc") ?? [] where process.first?.isNumber == true {
            for number in SystemFile.names(inFolder: "/proc/\(process)/fdinfo") ?? [] {
                guard let text = SystemFile.text("/proc/\(process)/fdinfo/\(number)"), text.contains("lock:") else { continue }
                // "lock: 1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF" (proc(5)); the device's number is that of the file system, which
                // differs in form between file systems, so the inode decides.
                let isHere = text.split(separator: "\n").contains { $0.hasPrefix("lock:") && $0.contains(locked) }
                let open = (try? FileStatus.atPath("/proc/\(process)/fd/\(number)", followsLinks: true)) ?? nil
                guard isHere, open.map({ $0.device == status.device }) ?? true else { continue }
                return "process \(process) (\(SystemFile.text("/proc/\(process)/comm") ?? "unknown"))"
            }
        }
        return nil
    }
}
