import Glibc

extension SystemError {
    /// The call might work a moment later: EAGAIN.
    public var isTemporary: Bool { errno == EAGAIN }

    /// EPERM
    static let notPermitted: Int32 = EPERM
    /// ENOSYS
    static let notImplemented: Int32 = ENOSYS
}
