import CLinux
import Glibc

/// An eventfd: a counter that one side adds to and the other waits for. Kick, call and error descriptors are eventfds too.
public struct EventFD: Sendable {
    /// The descriptor; readable when the counter is not zero.
    public let descriptor: FileDescriptor

    /// A new counter at zero, non-blocking and close-on-exec.
    public init() throws(SystemError) {
        descriptor = FileDescriptor(owning: try SystemError.check(clinux_eventfd(0), "create an eventfd"))
    }

    /// Treats a descriptor that somebody else made as an eventfd. The caller has made it non-blocking where it must not wait.
    public init(adopting descriptor: FileDescriptor) {
        self.descriptor = descriptor
    }

    /// Adds one to the counter. Never waits on a non-blocking descriptor: a full counter is as good as a signal already.
    public func signal() { _ = Self.signal(raw: descriptor.rawValue) }

    /// Sets the counter to zero and returns what it was.
    @discardableResult
    public func drain() -> UInt64 {
        var count: UInt64 = 0
        return unsafe clinux_read(descriptor.rawValue, &count, 8) == 8 ? count : 0
    }

    /// `signal` for a descriptor that a peer gave, whose owner here is known to live; made for pollers, which hold numbers only. True when it
    /// was interrupted while it waited (``PinnedThread/interrupt()``).
    ///
    /// It waits when the counter is full and the descriptor blocks. That flag belongs to everybody who has the descriptor, the peer
    /// included, which may rely on it: so it is not ours to change, and looking at it first would prove nothing.
    @inline(never)
    @discardableResult
    public static func signal(raw: Int32) -> Bool {
        var one: UInt64 = 1
        // Other errors mean a full counter (the peer has a signal waiting) or a peer that closed its end: neither harms us.
        return unsafe clinux_write(raw, &one, 8) == -Int64(EINTR)
    }

    /// Whether ``signal(raw:)`` would not wait at this moment.
    @inline(never)
    public static func takesSignal(raw: Int32) -> Bool {
        var entry = pollfd(fd: raw, events: Int16(POLLOUT), revents: 0)
        return unsafe poll(&entry, 1, 0) > 0
    }

    /// What taking a peer's signals brought.
    public enum Drained: Equatable, Sendable {
        /// There were signals, or none by now: somebody else who has the descriptor may have been faster.
        case taken
        /// The peer closed its end: no signal can come any more.
        case ended
        /// The descriptor cannot be read; the errno.
        case failed(Int32)
    }

    /// Takes the signals of a descriptor that a peer gave, without waiting for one whatever its flags say.
    @inline(never)
    public static func take(raw: Int32) -> Drained {
        var bytes: UInt64 = 0
        let count = unsafe clinux_read_nowait(raw, &bytes, 8)
        if count > 0 || count == -Int64(EAGAIN) { return .taken }
        return count == 0 ? .ended : .failed(Int32(-count))
    }
}
