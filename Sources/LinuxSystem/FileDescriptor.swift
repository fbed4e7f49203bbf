import CLinux
import Glibc

/// Owns one file descriptor and closes it, exactly once, when the last reference goes.
public final class FileDescriptor: Sendable {
    /// The descriptor's number; valid as long as this object is referenced.
    public let rawValue: Int32
    /// Who closes it, where that may wait.
    private let closing: ClosingQueue?

    /// Takes over `raw`, which nobody else may close from now on. With `closing` it is closed there, soon, rather than by whoever lets go of
    /// the last reference: for descriptors that came from a peer.
    public init(owning raw: Int32, closing: ClosingQueue? = nil) {
        precondition(raw >= 0, "a file descriptor is not negative")
        rawValue = raw
        self.closing = closing
    }

    deinit {
        if let closing { closing.close(rawValue) } else { _ = clinux_close(rawValue) }
    }

    /// Another descriptor of the same open file, close-on-exec.
    public func duplicate() throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try SystemError.check(clinux_dup(rawValue), "duplicate descriptor \(rawValue)"), closing: closing)
    }

    /// Opens `path` with the flags of open(2); close-on-exec is always set. May wait for a disk.
    public static func open(_ path: String, flags: Int32, mode: UInt32 = 0o600) throws(SystemError) -> FileDescriptor {
        FileDescriptor(owning: try SystemError.check(unsafe clinux_open(path, flags, mode), "open \(path)"))
    }

    /// Reads what is there, up to the buffer's size; 0 at the end, nil when a non-blocking descriptor has nothing.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
        guard let base = buffer.baseAddress else { return 0 }
        var done: Int64
        repeat { done = unsafe clinux_read(rawValue, base, buffer.count) } while done == -Int64(EINTR)
        if done == -Int64(EAGAIN) { return nil }
        return Int(try SystemError.check(done, "read descriptor \(rawValue)"))
    }

    /// Writes up to the buffer's size; nil when a non-blocking descriptor takes nothing.
    public func write(_ buffer: UnsafeRawBufferPointer) throws(SystemError) -> Int? {
        guard let base = buffer.baseAddress else { return 0 }
        var done: Int64
        repeat { done = unsafe clinux_write(rawValue, base, buffer.count) } while done == -Int64(EINTR)
        if done == -Int64(EAGAIN) { return nil }
        return Int(try SystemError.check(done, "write descriptor \(rawValue)"))
    }

    /// Makes reads and writes return instead of waiting, or wait again.
    public func setNonBlocking(_ on: Bool) throws(SystemError) {
        let flags = try SystemError.check(clinux_get_flags(rawValue), "read the flags of descriptor \(rawValue)")
        let wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
        if wanted != flags { try SystemError.check(clinux_set_flags(rawValue, wanted), "set the flags of descriptor \(rawValue)") }
    }

    /// Sets the file's size in bytes.
    public func truncate(to size: UInt64) throws(SystemError) {
        guard let signed = Int64(exactly: size) else { throw SystemError("set the size of descriptor \(rawValue)", errno: EFBIG) }
        try SystemError.check(clinux_truncate(rawValue, signed), "set the size of descriptor \(rawValue) to \(size)")
    }

    /// What fstat(2) says of the open file.
    public func status() throws(SystemError) -> FileStatus {
        var answer = clinux_file_status()
        try SystemError.check(unsafe clinux_fstat(rawValue, &answer), "stat descriptor \(rawValue)")
        return FileStatus(answer)
    }
}
