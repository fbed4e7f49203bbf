import Foundation
import Synchronization

/// A connection to a Unix socket on which lines go both ways: a guest's serial port, QEMU's monitor, a control socket. Reading blocks a thread of its own, never the tests' pool.
final class LineSocket: @unchecked Sendable {  // the buffer is touched on `queue` alone
    private let descriptor: Int32
    private let queue = DispatchQueue(label: "line socket")
    private var buffer: [UInt8] = []
    private let hasEnded = Atomic(false)

    /// Connects as soon as somebody listens at `path`.
    init(path: String, limit: Duration = .seconds(20)) async throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw TestbedError("socket: \(errnoText())") }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { throw TestbedError("\(path): too long for a socket") }
        // sun_path is a C array: its bytes are set through a raw view, bounded by the check above.
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
        let target = address
        try await eventually(limit, "\(path): nobody listens") { [descriptor] in
            // connect takes the general address type; the pointer is used only within the call.
            unsafe withUnsafePointer(to: target) {
                unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    unsafe connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
                }
            }
        }
    }

    deinit { close(descriptor) }

    /// Whether the other side may still say something.
    var isOpen: Bool { !hasEnded.load(ordering: .relaxed) }

    func send(_ line: String) throws {
        var rest = Array((line + "\n").utf8)[...]
        while !rest.isEmpty {
            // The array outlives the call; MSG_NOSIGNAL: a peer that has gone is an error, not a signal.
            let sent = unsafe rest.withUnsafeBytes { unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard sent > 0 else { throw TestbedError("send: \(errnoText())") }
            rest = rest.dropFirst(sent)
        }
    }

    /// The next line, without its end.
    func line(limit: Duration) async throws -> String {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try self.blockingLine(until: ContinuousClock.now + limit, limit) }) }
        }
    }

    private func blockingLine(until deadline: ContinuousClock.Instant, _ limit: Duration) throws -> String {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: buffer[..<end], as: UTF8.self)
                buffer.removeSubrange(...end)
                return line.hasSuffix("\r") ? String(line.dropLast()) : line
            }
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { throw TestbedError("no answer within \(limit); so far: \(String(decoding: buffer, as: UTF8.self))") }
            var item = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            // One pollfd, alive for the call.
            guard unsafe poll(&item, 1, Int32(min(left / .milliseconds(1), 1000))) > 0 else { continue }
            var chunk = [UInt8](repeating: 0, count: 65536)
            // The array is as large as the length says.
            let count = unsafe chunk.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else {
                hasEnded.store(true, ordering: .relaxed)
                throw TestbedError("the other side has closed the connection; so far: \(String(decoding: buffer, as: UTF8.self))")
            }
            buffer += chunk[..<count]
        }
    }
}

/// The text of the last system call's error.
func errnoText() -> String {
    // strerror answers a constant or thread-local C string, copied at once.
    unsafe String(cString: strerror(errno))
}
