/// The status byte a virtio-blk request ends with (virtio 1.3, 5.2.6).
@frozen
public enum BlockStatus: UInt8, Sendable, CaseIterable {
    /// VIRTIO_BLK_S_OK
    case ok = 0
    /// VIRTIO_BLK_S_IOERR
    case ioError = 1
    /// VIRTIO_BLK_S_UNSUPP
    case unsupported = 2
}

/// The request types (virtio 1.3, 5.2.6) this device knows. A guest can write any other number; it gets `unsupported`.
public enum BlockRequestType {
    /// VIRTIO_BLK_T_IN: read.
    @inlinable public static var read: UInt32 { 0 }
    /// VIRTIO_BLK_T_OUT: write.
    @inlinable public static var write: UInt32 { 1 }
    /// VIRTIO_BLK_T_FLUSH
    @inlinable public static var flush: UInt32 { 4 }
    /// VIRTIO_BLK_T_GET_ID: the serial.
    @inlinable public static var getID: UInt32 { 8 }
    /// VIRTIO_BLK_T_DISCARD
    @inlinable public static var discard: UInt32 { 11 }
    /// VIRTIO_BLK_T_WRITE_ZEROES
    @inlinable public static var writeZeroes: UInt32 { 13 }
    /// VIRTIO_BLK_T_SECURE_ERASE
    @inlinable public static var secureErase: UInt32 { 14 }
}
