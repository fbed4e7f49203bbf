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
    public func signal() { Self.signal(raw: descriptor.rawValue) }

    /// Sets the counter to zero and returns what it was.
    @discardableResult
    public func drain() -> UInt64 { Self.drain(raw: descriptor.rawValue) }

    /// `signal` for a descriptor whose owner is known to live; made for pollers, which hold numbers only.
    @inline(never)
    public static func signal(raw: Int32) {
        var one: UInt64 = 1
        // Errors mean a full counter (the peer has a signal waiting) or a peer that gave a descriptor of another kind: neither harms us.
        _ = unsafe clinux_write(raw, &one, 8)
    }

    /// `drain` for a descriptor whose owner is known to live.
    @inline(never)
    @discardableResult
    public static func drain(raw: Int32) -> UInt64 {
        var count: UInt64 = 0
        return unsafe clinux_read(raw, &count, 8) == 8 ? count : 0
    }
}
