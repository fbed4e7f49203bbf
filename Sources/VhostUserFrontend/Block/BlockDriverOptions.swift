public import VhostUser
public import Virtio

/// How a `BlockDriver` drives its device.
public struct BlockDriverOptions: Sendable {
    /// The shape of each queue. Its event index and indirect options are what is wanted; they are off when the device does not offer them.
    public var layout = BlockQueueLayout()
    /// Number of request queues.
    public var queueCount = 1
    /// Device features that are wanted besides those of the ring.
    public var features = VirtioFeatures.blockDriverDefault
    /// Protocol features that are wanted.
    public var protocolFeatures = ProtocolFeatures.frontendDefault
    /// Asks the back-end for an inflight region and hands it to the next one on `reconnect`.
    public var tracksInflight = true
    /// Gives memory with ADD_MEM_REG instead of SET_MEM_TABLE where that is offered.
    public var addsRegionsOneByOne = false
    /// Tells the back-end to poll the rings: no kick descriptors.
    public var asksForPolling = false
    /// Starts rings with VRING_KICK and takes calls from the back-end channel, which it wants opened: no descriptors of events at all. Whoever
    /// submits sends `kickRing`, and receives VRING_CALL from the driver's `channel`.
    public var usesInbandNotifications = false
    /// Opens the back-end channel where that is offered.
    public var usesBackendChannel = false
    /// Rings and buffers have I/O virtual addresses (ACCESS_PLATFORM), which the driver's ``BlockDriver/translations`` translate page by page.
    public var usesIOMMU = false
    /// With the IOMMU: pages that follow each other by I/O virtual address, those of rings too, are apart in guest-physical memory.
    public var scattersPages = false
    /// Regions of guest memory; nil for one that is large enough. Queues lie in the first.
    public var memory: [DriverMemory.Range]?
    /// How long to go on trying to connect when the back-end hangs up at once, as one does that has not noticed yet that the front-end
    /// before has gone.
    public var patienceNanoseconds: UInt64 = 0
    /// The same patience with a back-end that does not listen yet.
    public var waitsForBackend = false
    /// How long an answer or a request may take.
    public var timeoutNanoseconds: UInt64 = 5_000_000_000

    /// The options of a plain Linux guest with one queue.
    public init() {}
}

extension VirtioFeatures {
    /// What the driver understands besides ring features.
    public static let blockDriverDefault: VirtioFeatures = [
        .version1, .blockSizeMax, .blockSegmentMax, .blockGeometry, .blockSize, .blockReadOnly, .blockFlush, .blockTopology,
        .blockConfigWriteback, .blockMultiQueue, .blockDiscard, .blockWriteZeroes, .blockSecureErase, .blockLifetime,
    ]
}
