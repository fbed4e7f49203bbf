import Glibc

extension SystemError {
    /// The call might work a moment later: EAGAIN.
    public var isTemporary: Bool { errno == EAGAIN }

    /// Memory, or a limit of it, is used up: ENOMEM.
    public var isOutOfMemory: Bool { errno == ENOMEM }
    /// A mapping is of a kind that the call does not take: EOPNOTSUPP, EFAULT.
    public var isMappingRefused: Bool { errno == EOPNOTSUPP || errno == EFAULT }

    /// EPERM
    static let notPermitted: Int32 = EPERM
    /// EINVAL
    static let invalid: Int32 = EINVAL
    /// ENOSYS
    static let notImplemented: Int32 = ENOSYS
}
