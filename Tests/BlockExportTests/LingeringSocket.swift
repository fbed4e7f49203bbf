import Glibc
import LinuxSystem

/// A TCP connection over loopback one end of which waits in close(2), for up to `seconds`: it has data that the other end does not take.
///
/// Sendable: used by one thread at a time.
final class LingeringSocket: @unchecked Sendable {
    /// The end that waits; closed by whoever has the last descriptor of it.
    private var lingering: FileDescriptor?
    private var other: FileDescriptor?

    init(seconds: Int32 = 20) throws {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let listener = FileDescriptor(owning: try Self.check(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)))
        // The other end takes far less than this end has room for.
        var small: Int32 = 4096
        _ = try Self.check(unsafe setsockopt(listener.rawValue, SOL_SOCKET, SO_RCVBUF, &small, socklen_t(MemoryLayout<Int32>.size)))
        // unsafe: addresses of this frame, of the size that is given, for the time of each call.
        try unsafe withUnsafeMutableBytes(of: &address) { bytes in
            let pointer = unsafe bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            _ = try Self.check(unsafe bind(listener.rawValue, pointer, size))
            _ = try Self.check(listen(listener.rawValue, 1))
            _ = try Self.check(unsafe getsockname(listener.rawValue, pointer, &size))
            let near = FileDescriptor(owning: try Self.check(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)))
            _ = try Self.check(unsafe connect(near.rawValue, pointer, size))
            lingering = near
        }
        other = FileDescriptor(owning: try Self.check(accept(listener.rawValue, nil, nil)))
        guard let lingering else { throw SystemError("connect", errno: ENOTCONN) }
        var option = linger(l_onoff: 1, l_linger: seconds)
        _ = try Self.check(
            unsafe setsockopt(lingering.rawValue, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size)))
        try lingering.setNonBlocking(true)
        let block = [UInt8](repeating: 1, count: 65536)
        while try unsafe block.withUnsafeBytes({ try unsafe lingering.write($0) }) != nil {}
    }

    private static func check(_ status: Int32) throws -> Int32 { try SystemError.check(status < 0 ? -errno : status, "a TCP connection") }

    /// Sends bytes over a Unix socket, the end that waits with the first half of them, and lets go of it before the rest follows: so the
    /// receiver has the last descriptor.
    func send(with bytes: [UInt8], copies: Int = 1, over socket: FileDescriptor) throws {
        try sendAndLetGo(bytes.prefix(bytes.count / 2), copies, socket)
        _ = try unsafe bytes.dropFirst(bytes.count / 2).withUnsafeBytes { try unsafe UnixSocket.send(socket, $0) }
    }

    /// A function of its own, so that no reference is left when it returns.
    private func sendAndLetGo(_ bytes: ArraySlice<UInt8>, _ copies: Int, _ socket: FileDescriptor) throws {
        guard let descriptor = lingering else { throw SystemError("send", errno: EBADF) }
        let raw = Array(repeating: descriptor.rawValue, count: copies)
        _ = try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: raw) }
        lingering = nil
    }

    /// Closes the other end: nobody waits any more.
    func release() { other = nil }

    deinit { release() }
}
