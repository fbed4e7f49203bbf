public import BlockIO

/// Counters of one export since it was made, summed over its queues, and per queue.
public struct ExportStatistics: Sendable {
    /// Sum over the queues.
    public var total = QueueStatistics()
    /// Per queue, by index.
    public var queues: [QueueStatistics] = []
    /// Sessions that ended because their front-end took memory away that it had shared.
    public var memoryLosses: UInt64 = 0
}

/// Counters of one queue. All only grow, except where said otherwise.
public struct QueueStatistics: Sendable {
    /// Requests and bytes by kind.
    public var read = OperationStatistics()
    /// Writes.
    public var write = OperationStatistics()
    /// Flushes.
    public var flush = OperationStatistics()
    /// Discards.
    public var discard = OperationStatistics()
    /// Write-zeroes requests.
    public var writeZeroes = OperationStatistics()
    /// GET_ID, secure erase and everything else.
    public var other = OperationStatistics()
    /// Requests answered with VIRTIO_BLK_S_IOERR.
    public var ioErrors: UInt64 = 0
    /// Requests answered with VIRTIO_BLK_S_UNSUPP.
    public var unsupported: UInt64 = 0
    /// Chains that were malformed (no status byte to be reached, bad addresses, loops).
    public var malformed: UInt64 = 0
    /// Call notifications sent to the driver.
    public var notificationsSent: UInt64 = 0
    /// Looks at the ring that found requests.
    public var dispatches: UInt64 = 0
    /// Looks at the ring that found none.
    public var emptyDispatches: UInt64 = 0
    /// Most requests found in one look.
    public var batchMax: UInt64 = 0
    /// Requests in flight at the moment of the picture (a gauge).
    public var inFlight: UInt64 = 0
    /// Times that a descriptor of the front-end's, full and blocking, held up the poller until it was interrupted; each ended a session.
    public var stalls: UInt64 = 0
    /// Requests that the backing failed and that are held at the moment of the picture (a gauge).
    public var held: UInt64 = 0
    /// Requests that were ever held.
    public var heldTotal: UInt64 = 0
    /// Requests that were held and got their error when their time was over.
    public var holdTimeouts: UInt64 = 0
    /// What happened between the queue and the backing; as of a tenth of a second ago while the queue is busy.
    public var channel = IOChannelCounters()

    /// An empty set.
    public init() {}
}

/// Counters of one kind of request.
public struct OperationStatistics: Sendable {
    /// Requests completed.
    public var requests: UInt64 = 0
    /// Bytes moved, or covered by a discard.
    public var bytes: UInt64 = 0
    /// Time from taking the request to completing it, nanoseconds, summed.
    public var latencyNanosecondsSum: UInt64 = 0
    /// Latency distribution.
    public var latency = LatencyHistogram()

    /// An empty set.
    public init() {}
}
