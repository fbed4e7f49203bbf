import CLinux
import Glibc

/// Waits for many descriptors at once: epoll(7), level-triggered unless asked otherwise.
public struct Epoll: Sendable {
    /// What can be waited for and what can have happened.
    @frozen
    public struct Events: OptionSet, Sendable {
        /// The bits as epoll(7) has them.
        public var rawValue: UInt32
        /// Takes bits as epoll(7) has them.
        @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// Something can be read (EPOLLIN).
        public static let readable = Events(rawValue: CLINUX_EPOLLIN)
        /// Something can be written (EPOLLOUT).
        public static let writable = Events(rawValue: CLINUX_EPOLLOUT)
        /// An error is pending (EPOLLERR); reported unasked.
        public static let error = Events(rawValue: CLINUX_EPOLLERR)
        /// Both directions are closed (EPOLLHUP); reported unasked.
        public static let hangUp = Events(rawValue: CLINUX_EPOLLHUP)
        /// The peer sends no more (EPOLLRDHUP).
        public static let peerClosed = Events(rawValue: CLINUX_EPOLLRDHUP)
        /// Report only changes (EPOLLET).
        public static let edgeTriggered = Events(rawValue: CLINUX_EPOLLET)
    }

    /// One ready descriptor. The layout is that of struct clinux_event, which `wait` fills directly.
    @frozen
    public struct Ready: Sendable {
        /// The token the descriptor was added with.
        public var token: UInt64
        /// The events, as `Events` has them; the upper half is zero.
        public var bits: UInt64
        /// A zeroed value, for buffers.
        @inlinable public init() { (token, bits) = (0, 0) }
        /// What happened.
        @inlinable public var events: Events { Events(rawValue: UInt32(truncatingIfNeeded: bits)) }
    }

    /// The most descriptors one `wait` reports.
    public static let batchSizeMax = Int(CLINUX_EVENTS_MAX)

    /// The epoll descriptor itself; readable when something it watches is ready.
    public let descriptor: FileDescriptor

    /// Creates an instance that watches nothing yet.
    public init() throws(SystemError) {
        descriptor = FileDescriptor(owning: try SystemError.check(clinux_epoll_create(), "create an epoll instance"))
    }

    /// Starts watching `fd`.
    public func add(_ fd: Int32, _ events: Events, token: UInt64) throws(SystemError) {
        let status = clinux_epoll_ctl(descriptor.rawValue, CLINUX_EPOLL_CTL_ADD, fd, events.rawValue, token)
        try SystemError.check(status, "watch descriptor \(fd)")
    }

    /// Changes what is watched for at `fd`.
    public func modify(_ fd: Int32, _ events: Events, token: UInt64) throws(SystemError) {
        let status = clinux_epoll_ctl(descriptor.rawValue, CLINUX_EPOLL_CTL_MOD, fd, events.rawValue, token)
        try SystemError.check(status, "watch descriptor \(fd)")
    }

    /// Stops watching `fd`; it need not be watched.
    public func remove(_ fd: Int32) {
        _ = clinux_epoll_ctl(descriptor.rawValue, CLINUX_EPOLL_CTL_DEL, fd, 0, 0)
    }

    /// Waits until something is ready or `nanoseconds` have passed (negative: without end, 0: not at all), fills `ready` from its start
    /// and returns how many; 0 also when a signal came in between.
    public func wait(into ready: UnsafeMutableBufferPointer<Ready>, timeoutNanoseconds nanoseconds: Int64) -> Int {
        guard let base = ready.baseAddress else { return 0 }
        // The layouts are equal: two UInt64 in the same order, held by a unit test.
        let events = unsafe UnsafeMutableRawPointer(base).assumingMemoryBound(to: clinux_event.self)
        return max(0, Int(unsafe clinux_epoll_wait(descriptor.rawValue, events, Int32(clamping: ready.count), nanoseconds)))
    }
}
