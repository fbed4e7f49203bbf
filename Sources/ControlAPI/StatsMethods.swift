/// Tells the counters.
public enum StatsGet: ControlMethod {
    /// Whose.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var name: String?
        /// Members.
        public static var fields: [Field] {
            [.optional(CodingKeys.name, .string(.exportName), "the export's name", default: "all exports")]
        }
        /// Parameters.
        public init(name: String? = nil) { self.name = name }
    }

    /// The counters and the moment they were read.
    public struct Result: DescribedObject {
        /// When they were read.
        public var timeNS: UInt64
        /// Per export.
        public var exports: [ExportStats]
        /// Per poller.
        public var pollers: [PollerInfo]

        /// Names on the wire.
        public enum CodingKeys: String, CodingKey, CaseIterable {
            case timeNS = "time_ns"
            case exports, pollers
        }
        /// Members.
        public static var fields: [Field] {
            [
                .required(
                    CodingKeys.timeNS, .natural, "when they were read: monotonic clock in nanoseconds, for rates between two calls"),
                .required(CodingKeys.exports, .array(of: ExportStats.schema), "per export, in the order of their names"),
                .required(CodingKeys.pollers, .array(of: PollerInfo.schema), "the pollers, as in poller.list"),
            ]
        }
        /// See `fields`.
        public static var schema: Schema { .object("StatsGetResult", fields) }
        /// Counters.
        public init(timeNS: UInt64, exports: [ExportStats], pollers: [PollerInfo]) {
            self.timeNS = timeNS
            self.exports = exports
            self.pollers = pollers
        }
    }

    /// `stats.get`
    public static var name: MethodName { .statsGet }
    /// In one line.
    public static var summary: String { "Tells the counters of one export or of all, and of the pollers" }
    /// More.
    public static var details: String {
        "Counters start at zero when the export is made or the daemon starts, and only grow; gauges are named so."
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound] }
    /// All.
    public static var example: Parameters { Parameters() }
}

/// Counters of one export.
public struct ExportStats: DescribedObject {
    /// The export's name.
    public var name: String
    /// Sum over the queues.
    public var total: QueueStats
    /// Per queue, by index.
    public var queues: [QueueStats]
    /// Sessions ended because memory was taken away.
    public var memoryLosses: UInt64

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case name, total, queues
        case memoryLosses = "memory_losses"
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.name, .string(.exportName), "the export's name"),
            .required(CodingKeys.total, QueueStats.schema, "sum over the queues"),
            .required(CodingKeys.queues, .array(of: QueueStats.schema), "per queue, by index"),
            .required(
                CodingKeys.memoryLosses, .natural, "sessions that ended because the front-end took memory away that it had shared"),
        ]
    }
    /// Counters.
    public init(name: String, total: QueueStats, queues: [QueueStats], memoryLosses: UInt64) {
        self.memoryLosses = memoryLosses
        self.name = name
        self.total = total
        self.queues = queues
    }
}

/// Counters of one queue.
public struct QueueStats: DescribedObject {
    /// Reads.
    public var read = OperationStats()
    /// Writes.
    public var write = OperationStats()
    /// Flushes.
    public var flush = OperationStats()
    /// Discards.
    public var discard = OperationStats()
    /// Write-zeroes requests.
    public var writeZeroes = OperationStats()
    /// Everything else.
    public var other = OperationStats()
    /// Requests answered with an I/O error.
    public var ioErrors: UInt64 = 0
    /// Requests answered as unsupported.
    public var unsupported: UInt64 = 0
    /// Malformed chains.
    public var malformed: UInt64 = 0
    /// Notifications sent to the driver.
    public var notifications: UInt64 = 0
    /// Looks at the ring that found requests.
    public var dispatches: UInt64 = 0
    /// Looks at the ring that found none.
    public var emptyDispatches: UInt64 = 0
    /// Most requests found in one look.
    public var batchMax: UInt64 = 0
    /// Requests in flight now.
    public var inFlight: UInt64 = 0
    /// Times that a descriptor held up the poller.
    public var stalls: UInt64 = 0
    /// Requests held now.
    public var held: UInt64 = 0
    /// Requests ever held.
    public var heldTotal: UInt64 = 0
    /// Held requests that got their error in the end.
    public var holdTimeouts: UInt64 = 0
    /// What happened between the queue and the backing.
    public var backing = BackingStats()

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case read, write, flush, discard
        case writeZeroes = "write_zeroes"
        case other
        case ioErrors = "io_errors"
        case unsupported, malformed, notifications, dispatches
        case emptyDispatches = "empty_dispatches"
        case batchMax = "batch_max"
        case inFlight = "in_flight"
        case stalls
        case held
        case heldTotal = "held_total"
        case holdTimeouts = "hold_timeouts"
        case backing
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.read, OperationStats.schema, "reads"),
            .required(CodingKeys.write, OperationStats.schema, "writes"),
            .required(CodingKeys.flush, OperationStats.schema, "flushes"),
            .required(CodingKeys.discard, OperationStats.schema, "discards; their bytes are those covered"),
            .required(CodingKeys.writeZeroes, OperationStats.schema, "write-zeroes requests; their bytes are those covered"),
            .required(CodingKeys.other, OperationStats.schema, "serial number, secure erase and unknown requests"),
            .required(CodingKeys.ioErrors, .natural, "requests answered with VIRTIO_BLK_S_IOERR"),
            .required(CodingKeys.unsupported, .natural, "requests answered with VIRTIO_BLK_S_UNSUPP"),
            .required(CodingKeys.malformed, .natural, "malformed descriptor chains"),
            .required(CodingKeys.notifications, .natural, "notifications sent to the driver"),
            .required(CodingKeys.dispatches, .natural, "looks at the ring that found requests"),
            .required(CodingKeys.emptyDispatches, .natural, "looks at the ring that found none"),
            .required(CodingKeys.batchMax, .natural, "most requests found in one look"),
            .required(CodingKeys.inFlight, .natural, "requests in flight now (a gauge)"),
            .required(
                CodingKeys.stalls, .natural,
                "times that a descriptor of the front-end's, full and blocking, held up the poller for a moment"),
            .required(CodingKeys.held, .natural, "requests that the backing failed and that wait now (a gauge)"),
            .required(CodingKeys.heldTotal, .natural, "requests that were ever held"),
            .required(CodingKeys.holdTimeouts, .natural, "requests that were held and got their error when their time was over"),
            .required(CodingKeys.backing, BackingStats.schema, "what happened between the queue and the backing"),
        ]
    }

    /// All zero.
    public init() {}

    /// Requests of all kinds.
    public var requests: UInt64 { operations.reduce(0) { $0 &+ $1.requests } }
    /// Bytes read and written.
    public var bytesMoved: UInt64 { read.bytes &+ write.bytes }
    /// The latencies of all kinds, summed, in nanoseconds.
    public var latencyNSSum: UInt64 { operations.reduce(0) { $0 &+ $1.latencyNSSum } }

    private var operations: [OperationStats] { [read, write, flush, discard, writeZeroes, other] }
}

/// Counters of one kind of request.
public struct OperationStats: DescribedObject {
    /// Requests completed.
    public var requests: UInt64 = 0
    /// Bytes.
    public var bytes: UInt64 = 0
    /// Latencies summed.
    public var latencyNSSum: UInt64 = 0
    /// Median.
    public var latencyNS50: UInt64?
    /// 99 of 100 are not slower.
    public var latencyNS99: UInt64?
    /// 999 of 1000 are not slower.
    public var latencyNS999: UInt64?
    /// The slowest.
    public var latencyNSMax: UInt64?

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case requests, bytes
        case latencyNSSum = "latency_ns_sum"
        case latencyNS50 = "latency_ns_p50"
        case latencyNS99 = "latency_ns_p99"
        case latencyNS999 = "latency_ns_p999"
        case latencyNSMax = "latency_ns_max"
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.requests, .natural, "requests completed"),
            .required(CodingKeys.bytes, .natural, "bytes moved or covered"),
            .required(
                CodingKeys.latencyNSSum, .natural,
                "time from taking a request to completing it in nanoseconds, summed; 0 on a null disk, which completes what it takes at once"
            ),
            .optional(CodingKeys.latencyNS50, .natural, "latency that half of the requests did not exceed (within 12.5 %)"),
            .optional(CodingKeys.latencyNS99, .natural, "latency that 99 % of the requests did not exceed"),
            .optional(CodingKeys.latencyNS999, .natural, "latency that 99.9 % of the requests did not exceed"),
            .optional(CodingKeys.latencyNSMax, .natural, "latency that no request exceeded"),
        ]
    }

    /// All zero.
    public init() {}
}
