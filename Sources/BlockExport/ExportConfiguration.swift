public import BlockIO
public import LinuxSystem

/// Everything that defines an export; a value, kept in the state directory and compared when an export comes back.
///
/// May be used from any thread.
public struct ExportConfiguration: Sendable {
    /// The export's name: 1 to 64 characters of `A-Z a-z 0-9 . _ -`, not beginning with `.` or `-`.
    public var name: String
    /// What the export serves.
    public var backing: BackingSpec
    /// Where front-ends connect.
    public var endpoint: Endpoint
    /// The number of request queues offered, 1 to ``Limits/queueCountMax``.
    public var queueCount: Int
    /// The largest queue the export expects, a power of two from 2 to 32768; it bounds `seg_max`, rings of other sizes work.
    public var queueSize: Int
    /// The I/O engine, or `.automatic`.
    public var engine: EngineKind
    /// Whether writes are refused.
    public var isReadOnly: Bool
    /// What GET_ID answers, at most 20 bytes of ASCII; the name when nil.
    public var serial: String?
    /// The logical block size shown to the guest, 512 or 4096 bytes; the backing's own when nil.
    public var blockSize: Int?
    /// How queues wait for work.
    public var pollMode: PollMode
    /// The CPUs whose pollers may run this export's queues; placed by NUMA node when nil.
    public var cpus: [Int]?
    /// Whether the page cache is bypassed.
    public var directIO: DirectIO
    /// Permission bits of the listening socket.
    public var socketMode: UInt32
    /// The group that owns the listening socket, or nil to leave it.
    public var socketGroup: String?
    /// How long a ring that is stopped waits for its requests in flight, in nanoseconds. After that they are abandoned: with an inflight
    /// region the next start of the ring does them again.
    public var drainTimeoutNanoseconds: UInt64
    /// How long a ring that starts waits for a backing that somebody else has, in nanoseconds; after that it fails by the holder's name.
    public var lockTimeoutNanoseconds: UInt64
    /// What happens to requests that the backing fails.
    public var errorPolicy: ErrorPolicy
    /// For how long, and for how many requests, notifications may wait for each other; nil: each is sent at once.
    public var coalescing: CoalescingLimits?
    /// The longest that an adaptive queue is spun for, nanoseconds.
    public var spinNanosecondsMax = SpinForecast.spinNanosecondsDefault
    /// Whether the completions of the backing's device are polled (IOPOLL); refused where it has no queues for that.
    public var pollsCompletions = false
    /// Whether guest memory is registered with io_uring, which pins it (docs/architecture.md, "Registered memory"). Without effect on other
    /// engines.
    public var registersMemory = false
    /// Whether guests may move here by post-copy: their front-end gets a userfaultfd, with which it can stop any thread of this process
    /// (docs/migration.md, "Post-copy").
    public var offersPostcopy = false

    /// Where front-ends reach an export.
    public enum Endpoint: Sendable {
        /// A listening unix socket at this path, made by the export and removed with it.
        case path(String)
        /// An inherited descriptor: a listening socket, or one connected front-end.
        case descriptor(FileDescriptor)
    }

    /// Bounds that hold for every export.
    public enum Limits {
        /// Most queues of one export.
        public static let queueCountMax = 256
        /// Smallest and largest ring.
        public static let queueSizes = 2...32768
        /// Longest serial number in bytes; virtio 1.3, section 5.2.6.
        public static let serialLengthMax = 20
    }

    /// A configuration with the documented defaults for all that is not given.
    public init(
        name: String, backing: BackingSpec, endpoint: Endpoint, queueCount: Int = 1, queueSize: Int = 256,
        engine: EngineKind = .automatic, isReadOnly: Bool = false, serial: String? = nil, blockSize: Int? = nil,
        pollMode: PollMode = .adaptive, cpus: [Int]? = nil, directIO: DirectIO = .automatic, socketMode: UInt32 = 0o660,
        socketGroup: String? = nil, drainTimeoutNanoseconds: UInt64 = 10_000_000_000,
        lockTimeoutNanoseconds: UInt64 = 5_000_000_000, errorPolicy: ErrorPolicy = .report
    ) {
        self.name = name
        self.backing = backing
        self.endpoint = endpoint
        self.queueCount = queueCount
        self.queueSize = queueSize
        self.engine = engine
        self.isReadOnly = isReadOnly
        self.serial = serial
        self.blockSize = blockSize
        self.pollMode = pollMode
        self.cpus = cpus
        self.directIO = directIO
        self.socketMode = socketMode
        self.socketGroup = socketGroup
        self.drainTimeoutNanoseconds = drainTimeoutNanoseconds
        self.lockTimeoutNanoseconds = lockTimeoutNanoseconds
        self.errorPolicy = errorPolicy
    }

    /// The configuration as it is, once every field was found in range.
    ///
    /// - Throws: ``ExportError`` of kind `.invalid` that names the first field out of range.
    public func validated() throws(ExportError) -> ExportConfiguration {
        try checkName()
        guard (1...Limits.queueCountMax).contains(queueCount) else {
            throw invalid(
                "queues", "\(queueCount) queues: an export has 1 to \(Limits.queueCountMax)", "give --queues a number in that range")
        }
        guard Limits.queueSizes.contains(queueSize), queueSize & (queueSize - 1) == 0 else {
            throw invalid("queueSize", "queue size \(queueSize): it must be a power of two from 2 to 32768", "256 suits most guests")
        }
        if let blockSize, blockSize != 512, blockSize != 4096 {
            throw invalid("blockSize", "block size \(blockSize): a guest is shown 512 or 4096", "leave it out to take the backing's own")
        }
        if let serial {
            let bytes = Array(serial.utf8)
            guard !bytes.isEmpty, bytes.count <= Limits.serialLengthMax, bytes.allSatisfy({ (0x20...0x7e).contains($0) }) else {
                throw invalid("serial", "serial \"\(serial)\": it must be 1 to 20 printable ASCII characters", "shorten it")
            }
        }
        if let cpus, cpus.isEmpty || cpus.contains(where: { $0 < 0 }) {
            throw invalid("cpus", "the CPU list is empty or has a negative number", "write it like 0-3,8")
        }
        return self
    }

    private func checkName() throws(ExportError) {
        let bytes = Array(name.utf8)
        let isAllowed: (UInt8) -> Bool = { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default:
                false
            }
        }
        guard (1...64).contains(bytes.count), bytes.allSatisfy(isAllowed), bytes[0] != UInt8(ascii: "."), bytes[0] != UInt8(ascii: "-")
        else {
            throw invalid(
                "name", "export name \"\(name)\": 1 to 64 characters of A-Z a-z 0-9 . _ - are allowed, not beginning with . or -",
                "choose another name")
        }
    }

    private func invalid(_ field: String, _ message: String, _ hint: String) -> ExportError {
        ExportError(kind: .invalid, field: field, message: message, hint: hint)
    }
}
