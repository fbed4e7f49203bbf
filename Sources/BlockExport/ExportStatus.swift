public import BlockIO

/// A picture of one export at one moment; plain values, taken on the control thread.
public struct ExportStatus: Sendable {
    /// The export's name.
    public var name: String
    /// The backing as it was given.
    public var backing: String
    /// The socket's path, or nil for an inherited descriptor.
    public var socketPath: String?
    /// Capacity in bytes.
    public var sizeBytes: UInt64
    /// The logical block size shown to the guest.
    public var blockSize: Int
    /// Whether writes are refused.
    public var isReadOnly: Bool
    /// What GET_ID answers.
    public var serial: String
    /// The engine in use and why it was taken.
    public var engine: String
    /// The reason of the choice of engine, a sentence.
    public var engineReason: String
    /// Whether the page cache is bypassed, and the reason when it is not.
    public var isDirect: Bool
    /// Why I/O is buffered, or nil when it is direct.
    public var bufferedReason: String?
    /// How queues wait for work.
    public var pollMode: PollMode
    /// Whether completed writes may sit in a cache until FLUSH (CONFIG_WCE).
    public var isWriteback: Bool
    /// NUMA node of the backing's device, or nil when unknown.
    public var backingNode: Int?
    /// Whether this export holds the backing's lock, as it does while a ring runs; nobody else writes to it then.
    public var isLocked: Bool
    /// Who had the backing when this export wanted it last, in words, or nil when it was free.
    public var backingConflict: String?
    /// Whether a front-end is connected, and its process id.
    public var frontend: Frontend?
    /// What happens to requests that the backing fails.
    public var errorPolicy: ErrorPolicy
    /// Requests that are held, or nil when none are.
    public var hold: Hold?
    /// The longest that an adaptive queue is spun for, nanoseconds.
    public var spinNanosecondsMax: UInt64
    /// For how long notifications may wait for each other, or nil.
    public var coalescing: CoalescingLimits?
    /// Whether the completions of the backing's device are polled.
    public var pollsCompletions: Bool
    /// Whether guest memory is to be registered with io_uring.
    public var registersMemory: Bool
    /// Why guests cannot move here by post-copy, or nil when they can.
    public var postcopyRefusal: String?
    /// What happened between the queues and the backing since the export was made, summed over the queues.
    public var channel: IOChannelCounters
    /// One entry per offered queue.
    public var queues: [Queue]

    /// Requests that wait for the backing to come back.
    public struct Hold: Sendable {
        /// How many.
        public var requests: UInt64
        /// Since when the backing failed them, in nanoseconds before now.
        public var nanoseconds: UInt64
        /// How often they were tried again, in the queue that was tried most.
        public var tries: UInt64
        /// The last error in words.
        public var error: String
    }

    /// The connected front-end.
    public struct Frontend: Sendable {
        /// Its process id, or nil when the kernel does not tell.
        public var processID: Int32?
        /// Negotiated virtio features, raw bits.
        public var features: UInt64
        /// Names of the negotiated virtio features.
        public var featureNames: [String]
        /// Names of the negotiated vhost-user protocol features.
        public var protocolFeatureNames: [String]
        /// Memory regions mapped.
        public var regionCount: Int
        /// Bytes of guest memory mapped.
        public var memoryBytes: UInt64
        /// The virtio device status byte, when the front-end sends it.
        public var deviceStatus: UInt8?
        /// Bytes of the dirty log that it gave, or nil before.
        public var logBytes: UInt64?
        /// What is being done besides serving, in words, such as `logging`: a migration's steps.
        public var activities: [String]
    }

    /// One queue.
    public struct Queue: Sendable {
        /// Its index.
        public var index: Int
        /// `stopped`, `running` or `failed: reason`.
        public var state: String
        /// Ring entries, or 0 before the front-end told.
        public var size: Int
        /// Between SET_VRING_KICK and GET_VRING_BASE.
        public var isStarted: Bool
        /// SET_VRING_ENABLE, or SET_FEATURES without protocol features.
        public var isEnabled: Bool
        /// `split` or `packed`.
        public var format: String
        /// The CPU of its poller while running.
        public var cpu: Int?
        /// NUMA node of that CPU.
        public var node: Int?
        /// NUMA node of the guest's ring, or nil when unknown.
        public var memoryNode: Int?
        /// What crosses nodes on the way of a request: `memory`, `backing`.
        public var crossesNodes: [String]
        /// Requests taken and not yet completed.
        public var inFlight: Int
        /// Those of them that the backing failed and that are held.
        public var held: Int
        /// Age of the oldest such request in nanoseconds, or nil when there is none.
        public var oldestInFlightNanoseconds: UInt64?
        /// Bytes of guest memory that are registered with its poller's io_uring.
        public var registeredBytes: UInt64
        /// Why not all that was to be is registered, or nil.
        public var unregisteredReason: String?
    }
}

/// A picture of one poller.
public struct PollerStatus: Sendable {
    /// The CPU it is pinned to.
    public var cpu: Int
    /// That CPU's NUMA node.
    public var node: Int
    /// Queues it runs, as `export/queue`.
    public var queues: [QueuePlace]
    /// Processor time the thread has used, nanoseconds.
    public var cpuNanoseconds: UInt64
    /// Loops that found work, and loops that found none.
    public var busyLoops: UInt64
    /// Loops that found nothing to do.
    public var idleLoops: UInt64
    /// Times it went to sleep.
    public var sleeps: UInt64

    /// A queue on a poller and what about it crosses NUMA nodes.
    public struct QueuePlace: Sendable {
        /// The export's name.
        public var export: String
        /// The queue's index.
        public var queue: Int
        /// `memory` and `backing` where those lie on another node than the poller.
        public var crossesNodes: [String]
        /// Why it was placed here: `cpus`, `guest memory`, `backing`, `load`.
        public var reason: String
    }
}
