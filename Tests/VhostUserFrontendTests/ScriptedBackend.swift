import LinuxSystem
import Testing
import VhostUserFrontend

/// The other end of a front-end's socket: answers are put there before they are asked for, and what was sent is read afterwards, byte for
/// byte and without the project's own codec.
final class ScriptedBackend {
    struct Sent: Equatable {
        var request: UInt32
        var flags: UInt32
        var payload: [UInt8]
        var descriptorCount: Int
    }

    let connection: FrontendConnection
    private let socket: FileDescriptor
    /// What came; closed with this object.
    private(set) var kept: [FileDescriptor] = []

    init(timeoutMilliseconds: UInt64 = 2000) throws {
        let (own, other) = try UnixSocket.pair()
        socket = own
        connection = try FrontendConnection(socket: other, timeoutNanoseconds: timeoutMilliseconds * 1_000_000)
    }

    static func bytes<Word: FixedWidthInteger>(_ words: Word...) -> [UInt8] {
        words.flatMap { word in (0..<MemoryLayout<Word>.size).map { UInt8(truncatingIfNeeded: word >> Word(8 * $0)) } }
    }

    /// Puts raw bytes into the socket.
    func write(_ bytes: [UInt8], descriptors: [FileDescriptor] = []) throws {
        // The buffer is only read, during the call; the socket's own buffer is larger than what tests send.
        let sent = try unsafe bytes.withUnsafeBytes { try unsafe UnixSocket.send(socket, $0, descriptors: descriptors.map(\.rawValue)) }
        #expect(sent == bytes.count)
    }

    /// Puts an answer there; flags are version 1 and reply.
    func answer(_ request: UInt32, _ payload: [UInt8] = [], flags: UInt32 = 5, descriptors: [FileDescriptor] = []) throws {
        try write(Self.bytes(request, flags, UInt32(payload.count)) + payload, descriptors: descriptors)
    }

    /// Puts an acknowledgement there.
    func acknowledge(_ request: UInt32, _ value: UInt64 = 0) throws { try answer(request, Self.bytes(value)) }

    /// Offers features and protocol features to `open`.
    func offer(features: UInt64, protocolFeatures: UInt64? = nil, acknowledgesOwner: Bool = false) throws {
        try answer(1, Self.bytes(features))
        if let protocolFeatures { try answer(15, Self.bytes(protocolFeatures)) }
        if acknowledgesOwner { try acknowledge(3) }
    }

    /// Opens the connection with all of a modern back-end's features and forgets what was said.
    func open(protocolFeatures: UInt64) throws {
        try offer(features: 1 << 30 | 1 << 32, protocolFeatures: protocolFeatures, acknowledgesOwner: protocolFeatures & 8 != 0)
        try connection.open()
        _ = try sent()
    }

    /// Everything that was sent and not read yet.
    func sent() throws -> [Sent] {
        var bytes: [UInt8] = []
        // Descriptors by the position of the byte that they came with.
        var descriptors: [(position: Int, count: Int)] = []
        while let part = try receive() {
            bytes += part.bytes
            // The kernel ends a part behind the message that brings descriptors: they belong to its end.
            if part.count > 0 { descriptors.append((bytes.count - 1, part.count)) }
        }
        var messages: [Sent] = []
        var position = 0
        while position < bytes.count {
            func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(bytes[position + offset + $1]) << UInt32(8 * $1) } }
            let size = Int(word(8))
            let range = position..<position + 12 + size
            let count = descriptors.filter { range.contains($0.position) }.map(\.count).reduce(0, +)
            messages.append(
                Sent(request: word(0), flags: word(4), payload: Array(bytes[range.dropFirst(12)]), descriptorCount: count))
            position = range.upperBound
        }
        return messages
    }

    /// A part of what was sent.
    private func receive() throws -> (bytes: [UInt8], count: Int)? {
        try unsafe withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { buffer in
            guard let part = try unsafe UnixSocket.receive(socket, into: buffer), part.byteCount > 0 else { return nil }
            kept += part.descriptors
            return unsafe (Array(buffer.prefix(part.byteCount)), part.descriptors.count)
        }
    }

    func close() { UnixSocket.shutdown(socket) }
}
