import Glibc

extension SystemError {
    /// The call might work a moment later: EAGAIN.
    public var isTemporary: Bool { errno == EAGAIN }
}
