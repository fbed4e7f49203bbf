/// What a registered descriptor is ready for.
public struct Readiness: Equatable, Sendable {
    /// Reading does not wait: bytes, a connection, or the end are there.
    public var canRead: Bool
    /// Writing does not wait.
    public var canWrite: Bool
    /// The peer has closed its side or the descriptor has an error; reading tells which, after what was sent before.
    public var isClosed: Bool

    init(_ events: Epoll.Events) {
        canRead = !events.isDisjoint(with: [.readable, .hangUp, .error, .peerClosed])
        canWrite = !events.isDisjoint(with: [.writable, .hangUp, .error])
        isClosed = !events.isDisjoint(with: [.hangUp, .error, .peerClosed])
    }
}
