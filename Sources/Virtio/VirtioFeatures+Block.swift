/// Feature bits of the block device (virtio 1.3, 5.2.3).
extension VirtioFeatures {
    /// VIRTIO_BLK_F_SIZE_MAX: `size_max` limits a segment.
    public static let blockSizeMax = VirtioFeatures(bit: 1)
    /// VIRTIO_BLK_F_SEG_MAX: `seg_max` limits the segments of a request.
    public static let blockSegmentMax = VirtioFeatures(bit: 2)
    /// VIRTIO_BLK_F_GEOMETRY: legacy cylinders, heads and sectors.
    public static let blockGeometry = VirtioFeatures(bit: 4)
    /// VIRTIO_BLK_F_RO: read-only device.
    public static let blockReadOnly = VirtioFeatures(bit: 5)
    /// VIRTIO_BLK_F_BLK_SIZE: `blk_size` is the logical block size.
    public static let blockSize = VirtioFeatures(bit: 6)
    /// VIRTIO_BLK_F_FLUSH: cache flush command.
    public static let blockFlush = VirtioFeatures(bit: 9)
    /// VIRTIO_BLK_F_TOPOLOGY: alignment and I/O size hints.
    public static let blockTopology = VirtioFeatures(bit: 10)
    /// VIRTIO_BLK_F_CONFIG_WCE: the driver can toggle the write cache.
    public static let blockConfigWriteback = VirtioFeatures(bit: 11)
    /// VIRTIO_BLK_F_MQ: several request queues.
    public static let blockMultiQueue = VirtioFeatures(bit: 12)
    /// VIRTIO_BLK_F_DISCARD: discard command.
    public static let blockDiscard = VirtioFeatures(bit: 13)
    /// VIRTIO_BLK_F_WRITE_ZEROES: write-zeroes command.
    public static let blockWriteZeroes = VirtioFeatures(bit: 14)
    /// VIRTIO_BLK_F_LIFETIME: lifetime information.
    public static let blockLifetime = VirtioFeatures(bit: 15)
    /// VIRTIO_BLK_F_SECURE_ERASE: secure-erase command.
    public static let blockSecureErase = VirtioFeatures(bit: 16)
    /// VIRTIO_BLK_F_ZONED: zoned device.
    public static let blockZoned = VirtioFeatures(bit: 17)
}
