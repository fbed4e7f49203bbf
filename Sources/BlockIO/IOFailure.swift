import Glibc

/// What a failed operation tells about who is at fault.
public enum IOFailure {
    /// Whether an operation that ended with `result` may be tried again as it is: the failure is the backing's, and trying again cannot
    /// hide a loss.
    ///
    /// Not the backing's are a range that no block fits (EINVAL), memory that is not there (EFAULT), what the backing never can
    /// (EOPNOTSUPP, ENOSYS), what was cancelled (ECANCELED), and every result that is no errno.
    ///
    /// A flush that failed with the page cache in between (`isDirect` false) may not: the kernel has marked the pages clean that it could not
    /// write, so that a second flush would succeed although they are lost. Direct writes are in no such cache: what a device's own cache
    /// holds is the device's to write, or to fail again.
    public static func mayRetry(_ kind: IOKind, result: Int64, isDirect: Bool) -> Bool {
        let errnoMax: Int64 = 4095
        guard result < 0, result >= -errnoMax else { return false }
        switch Int32(-result) {
        case EINVAL, EFAULT, EOPNOTSUPP, ENOSYS, ECANCELED: return false
        default: return kind != .flush || isDirect
        }
    }
}
