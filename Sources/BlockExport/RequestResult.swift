internal import Virtio

/// Results of requests that no engine saw, told apart from an engine's -errno by values that no errno has.
enum RequestResult {
    /// The result that brings a status byte.
    static func of(_ status: BlockStatus) -> Int64 { status == .ok ? 0 : status == .ioError ? ioError : unsupported }

    /// Answer VIRTIO_BLK_S_IOERR.
    static let ioError: Int64 = -100_001
    /// Answer VIRTIO_BLK_S_UNSUPP.
    static let unsupported: Int64 = -100_002
    /// -ECANCELED: the operation was taken back before the disk had it.
    static let cancelled: Int64 = -125
    /// An engine's -EOPNOTSUPP: the backing cannot do it, which the guest is told as such.
    static let operationNotSupported: Int64 = -95
    /// There is no status byte to answer in.
    static let noStatus: Int64 = -100_003
}
