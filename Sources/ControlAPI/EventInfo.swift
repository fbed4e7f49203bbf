/// What happened: the words of an event's `event`.
public enum EventKind: String, Codable, Sendable, CaseIterable {
    /// An export serves: it was made, or came back.
    case ready
    /// An export's backing cannot be opened; it is tried again.
    case failed
    /// An export was deleted.
    case deleted
    /// A front-end connected.
    case connected
    /// A front-end was turned away, since the export has one.
    case refused
    /// Front-end and export agreed on virtio features.
    case negotiated
    /// A ring is served.
    case ringStarted = "ring_started"
    /// A ring is served no more.
    case ringStopped = "ring_stopped"
    /// A ring is broken.
    case ringFailed = "ring_failed"
    /// Requests that an earlier daemon, or this one before the ring stopped, left in flight are done again.
    case recovered
    /// The front-end began to log writes: its virtual machine migrates.
    case migrationStarted = "migration_started"
    /// The front-end logs writes no more: the virtual machine is gone, or the migration was given up.
    case migrationEnded = "migration_ended"
    /// The device's state was given to the front-end, or to crosvm's snapshot.
    case stateSaved = "state_saved"
    /// The device goes on with a state that another had.
    case stateLoaded = "state_loaded"
    /// The backing fails requests, which are held.
    case held
    /// No request is held any more.
    case holdEnded = "hold_ended"
    /// The capacity changed.
    case resized
    /// The front-end went.
    case disconnected
    /// Something else that is worth a line in the log.
    case notice
    /// Events are missing here: this reader did not keep up.
    case lost
}

/// One event, as `events.subscribe` sends them.
public struct EventInfo: DescribedObject {
    /// Its number.
    public var sequence: UInt64
    /// When it happened.
    public var timeNS: UInt64
    /// What happened.
    public var event: EventKind
    /// Whose.
    public var export: String?
    /// Which queue.
    public var queue: Int?
    /// Where it runs.
    public var cpu: Int?
    /// The front-end's process.
    public var pid: Int?
    /// The front-end's user.
    public var uid: Int?
    /// What was negotiated.
    public var features: [String]?
    /// The capacity.
    public var size: UInt64?
    /// How many requests.
    public var requests: UInt64?
    /// How many of them got their error in the end.
    public var timeouts: UInt64?
    /// How long it took.
    public var durationNS: UInt64?
    /// How many events are missing.
    public var lost: UInt64?
    /// Why, in words.
    public var reason: String?

    /// Names on the wire.
    public enum CodingKeys: String, CodingKey, CaseIterable {
        case sequence
        case timeNS = "time_ns"
        case event, export, queue, cpu, pid, uid, features, size, requests, timeouts
        case durationNS = "duration_ns"
        case lost, reason
    }

    /// Members.
    public static var fields: [Field] {
        [
            .required(
                CodingKeys.sequence, .natural,
                "counts the events of the daemon, those of other exports included; that of the last one in `lost`"),
            .required(CodingKeys.timeNS, .natural, "when it happened, in nanoseconds since the beginning of 1970"),
            .required(CodingKeys.event, .choice(EventKind.allCases.map(\.rawValue)), "what happened"),
            .optional(CodingKeys.export, .string(.exportName), "the export's name"),
            .optional(CodingKeys.queue, .natural, "the queue: ring_started, ring_stopped, ring_failed, recovered"),
            .optional(CodingKeys.cpu, .natural, "the CPU of its poller: ring_started"),
            .optional(CodingKeys.pid, .natural, "the front-end's process id, where the kernel tells it: connected, refused"),
            .optional(CodingKeys.uid, .natural, "the front-end's user id: connected"),
            .optional(CodingKeys.features, .array(of: .text), "names of the virtio features: negotiated"),
            .optional(CodingKeys.size, .natural, "the capacity in bytes: ready, resized"),
            .optional(CodingKeys.requests, .natural, "requests that are done again (recovered) or were held (hold_ended)"),
            .optional(CodingKeys.timeouts, .natural, "those of them that got their error when their time was over: hold_ended"),
            .optional(CodingKeys.durationNS, .natural, "for how long requests were held, in nanoseconds: hold_ended"),
            .optional(CodingKeys.lost, .natural, "how many events are missing here: lost"),
            .optional(
                CodingKeys.reason, .text, "in words: failed, ring_failed, held, disconnected unless the front-end simply went, notice"),
        ]
    }

    /// An event without particulars.
    public init(sequence: UInt64 = 0, timeNS: UInt64, event: EventKind, export: String?) {
        self.sequence = sequence
        self.timeNS = timeNS
        self.event = event
        self.export = export
    }
}
