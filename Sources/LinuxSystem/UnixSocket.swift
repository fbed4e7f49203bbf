import CLinux
import Glibc

/// Unix stream sockets that carry file descriptors. Every descriptor made here is close-on-exec; nothing here waits for a peer.
public enum UnixSocket {
    /// The longest path a Unix socket can have, in bytes.
    public static let pathLengthMax = Int(CLINUX_SOCKET_PATH_MAX)
    /// The most descriptors one message can carry.
    public static let descriptorCountMax = Int(CLINUX_DESCRIPTORS_MAX)

    /// Who is at the other end, as the kernel saw it when the connection was made.
    public struct Peer: Equatable, Sendable {
        /// Process id; 0 when it is not visible from here.
        public var process: Int32
        /// Effective user id.
        public var user: UInt32
        /// Effective group id.
        public var group: UInt32

        /// Describes a peer.
        public init(process: Int32, user: UInt32, group: UInt32) {
            (self.process, self.user, self.group) = (process, user, group)
        }
    }

    /// What a `receive` brought.
    public struct Received {
        /// Bytes stored in the buffer; 0 means that the peer has closed its side.
        public var byteCount: Int
        /// The descriptors that came with these bytes, in order.
        public var descriptors: [FileDescriptor]
        /// Whether descriptors were sent that are lost: more than asked for, or more than this process may open.
        public var lostDescriptors: Bool
    }

    /// Connects to the listener at `path`. Fails with ECONNREFUSED when nobody listens and with EAGAIN when its backlog is full.
    public static func connect(path: String) throws(SystemError) -> FileDescriptor {
        let what = "connect to \(path)"
        let socket = FileDescriptor(owning: try SystemError.check(clinux_socket_unix(1), what))
        try SystemError.check(unsafe clinux_connect(socket.rawValue, path), what)
        return socket
    }

    /// Two connected sockets, non-blocking.
    public static func pair() throws(SystemError) -> (FileDescriptor, FileDescriptor) {
        var first: Int32 = -1
        var second: Int32 = -1
        try SystemError.check(unsafe clinux_socket_pair(&first, &second, 1), "create a socket pair")
        return (FileDescriptor(owning: first), FileDescriptor(owning: second))
    }

    /// The next waiting connection, non-blocking; nil when none waits or when it is gone already. Closing it closes what it was sent and did
    /// not receive, hence `closing`.
    public static func accept(_ listener: FileDescriptor, closing: ClosingQueue? = nil) throws(SystemError) -> FileDescriptor? {
        let answer = clinux_accept(listener.rawValue)
        if answer == -EAGAIN || answer == -ECONNABORTED || answer == -EINTR { return nil }
        return FileDescriptor(owning: try SystemError.check(answer, "accept a connection"), closing: closing)
    }

    /// Who is connected to `socket`.
    public static func peer(of socket: FileDescriptor) throws(SystemError) -> Peer {
        var answer = clinux_credentials()
        try SystemError.check(unsafe clinux_peer_credentials(socket.rawValue, &answer), "ask for the peer's credentials")
        return Peer(process: answer.process, user: answer.user, group: answer.group)
    }

    /// Whether `socket` is a listening socket rather than a connected one; for descriptors that were handed to us.
    public static func isListening(_ socket: FileDescriptor) throws(SystemError) -> Bool {
        try SystemError.check(clinux_is_listening(socket.rawValue), "ask whether descriptor \(socket.rawValue) is a listening socket") != 0
    }

    /// Ends both directions; the peer reads what was sent, then the end.
    public static func shutdown(_ socket: FileDescriptor) {
        _ = clinux_shutdown(socket.rawValue, Int32(SHUT_RDWR))
    }

    /// Sends what the socket takes at once, `descriptors` with the first byte. Returns the bytes taken, which may be fewer than given
    /// (the descriptors are gone then: send the rest without), or nil when the socket takes nothing now.
    public static func send(
        _ socket: FileDescriptor, _ bytes: UnsafeRawBufferPointer, descriptors: [Int32] = []
    ) throws(SystemError) -> Int? {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return 0 }
        let answer = unsafe clinux_send(socket.rawValue, base, bytes.count, descriptors, descriptors.count)
        if answer == -Int64(EAGAIN) { return nil }
        return Int(try SystemError.check(answer, "send"))
    }

    /// Receives what is there, up to the buffer's size and `maximumDescriptors`; nil when nothing is there now. `closing` closes the
    /// descriptors, those over the maximum too.
    public static func receive(
        _ socket: FileDescriptor, into buffer: UnsafeMutableRawBufferPointer, maximumDescriptors: Int = descriptorCountMax,
        closing: ClosingQueue? = nil
    ) throws(SystemError) -> Received? {
        guard let base = buffer.baseAddress, buffer.count > 0 else { throw SystemError("receive", errno: EINVAL) }
        var answer: Int64 = 0
        var lost: Int32 = 0
        // All are received, however few are wanted: what recvmsg(2) has no room for it closes by itself, and may wait.
        let descriptors = unsafe withUnsafeTemporaryAllocation(of: Int32.self, capacity: descriptorCountMax) { raw in
            var count = 0
            answer = unsafe clinux_receive(socket.rawValue, base, buffer.count, raw.baseAddress!, &count, &lost)
            return unsafe raw[..<count].map { FileDescriptor(owning: $0, closing: closing) }
        }
        if answer == -Int64(EAGAIN) { return nil }
        return Received(
            byteCount: Int(try SystemError.check(answer, "receive")), descriptors: Array(descriptors.prefix(maximumDescriptors)),
            lostDescriptors: lost != 0 || descriptors.count > maximumDescriptors)
    }
}
