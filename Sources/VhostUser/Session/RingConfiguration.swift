public import LinuxSystem
public import Virtio

/// Everything a device needs to run a ring, checked by the session: the size fits the format, the areas are aligned, disjoint and lie in
/// guest memory.
public struct RingConfiguration {
    /// Number of descriptors.
    public var size: Int
    /// Where this process sees the ring's three areas, in `memory` or in what `joined` keeps.
    public var addresses: RingAddresses
    /// See ``RingPlace/joined``.
    public var joined: (any Sendable)?
    /// The guest memory that `addresses` and the descriptors point into; keep it as long as the ring runs or requests of it are in flight.
    public var memory: GuestMemory
    /// Where to begin, as SET_VRING_BASE, or the ring's last stop, said.
    public var base: RingBase
    /// The negotiated device features.
    public var features: VirtioFeatures
    /// Readable when the driver has added buffers; nil with `isPolled`, or when kicks come in-band.
    public var kick: FileDescriptor?
    /// The driver does not kick: look at the ring all the time.
    public var isPolled: Bool
    /// To be signalled when buffers were used; nil when the driver does not want to hear of it.
    public var call: FileDescriptor?
    /// To be signalled when the ring breaks.
    public var error: FileDescriptor?
    /// Where writes to guest memory are to be logged, if they are.
    public var log: RingLog?
    /// The ring's part of the inflight region, if the front-end gave one.
    public var inflight: InflightPart?

    /// Gathers the parts.
    public init(
        size: Int, addresses: RingAddresses, memory: GuestMemory, base: RingBase, features: VirtioFeatures, kick: FileDescriptor?,
        isPolled: Bool, call: FileDescriptor?, error: FileDescriptor?, log: RingLog?, inflight: InflightPart?,
        joined: (any Sendable)? = nil
    ) {
        self.size = size
        self.addresses = addresses
        self.joined = joined
        self.memory = memory
        self.base = base
        self.features = features
        self.kick = kick
        self.isPolled = isPolled
        self.call = call
        self.error = error
        self.log = log
        self.inflight = inflight
    }

    /// The ring lies elsewhere, in another state of guest memory.
    public mutating func move(to place: RingPlace, in memory: GuestMemory) {
        self.memory = memory
        (addresses, joined, log) = (place.addresses, place.joined, place.log)
    }
}

/// Where a ring lies after guest memory, or its translation, changed.
public struct RingPlace {
    /// Where this process sees the ring's three areas.
    public var addresses: RingAddresses
    /// What keeps areas mapped whose pages lie apart in memory, and that are mapped once more in one piece; nil when none is. Keep it as long
    /// as the addresses are used; requests in flight do not need it.
    public var joined: (any Sendable)?
    /// How the ring logs there.
    public var log: RingLog?

    /// Gathers the parts.
    public init(addresses: RingAddresses, joined: (any Sendable)? = nil, log: RingLog? = nil) {
        self.addresses = addresses
        self.joined = joined
        self.log = log
    }
}

extension RingConfiguration {
    /// Whether requests that somebody else took from the ring may be in flight still, by the inflight region: the ring owes them to the driver.
    /// Asked before the ring begins.
    public var mayHaveEarlierRequests: Bool { inflight?.queue.mayHaveRequests(isPacked: features.contains(.ringPacked)) ?? false }
}

/// One ring's part of a mapped inflight region.
public struct InflightPart {
    /// The part, for the ring types.
    public var queue: InflightQueue
    /// What keeps the region mapped.
    public var owner: any Sendable

    /// Names the part and its owner.
    public init(queue: InflightQueue, owner: any Sendable) {
        self.queue = queue
        self.owner = owner
    }
}

/// What changes on a ring while it runs.
public enum RingChange {
    /// Buffers are announced on another descriptor; nil with `isPolled`. Look at the ring once after the change: a kick on the old one may
    /// not have been read.
    case kick(FileDescriptor?, isPolled: Bool)
    /// Used buffers are announced on another descriptor, or no more. Signal the new one once after the change: the driver may have missed
    /// one on the old.
    case call(FileDescriptor?)
    /// A broken ring is announced on another descriptor, or not at all.
    case error(FileDescriptor?)
    /// The driver added buffers, and said so with a message.
    case kicked
    /// Writes to guest memory are logged otherwise from now on, or no more. Also for a ring that is being stopped: what is in flight on it
    /// still writes.
    case log(RingLog?)
    /// The IOTLB has no translation of the ring's own areas any more: neither look at the ring nor write to it until `replaceMemory`.
    case suspended
    /// The front-end's IOMMU does not permit the access that the ring waits with: the request gets an error.
    case denied(MemoryMiss)
}

/// How a ring's writes to guest memory are logged for a migration (specification, "Migration").
public struct RingLog: Sendable {
    /// Where.
    public var log: DirtyLog
    /// VHOST_F_LOG_ALL: what is written to the buffers that descriptors name is logged at its guest address.
    public var logsBuffers: Bool
    /// VHOST_VRING_F_LOG: the ring's own areas are logged too, the used ring (packed: the device event suppression area) here, which need not
    /// be in guest memory. nil: the ring is not logged.
    public var used: LoggedArea?
    /// With `used`, a packed ring's descriptors.
    public var descriptors: LoggedArea?
    /// SET_LOG_FD: to be signalled after bits were set.
    public var notifier: FileDescriptor?

    /// Gathers the parts.
    public init(
        log: DirtyLog, logsBuffers: Bool, used: LoggedArea?, descriptors: LoggedArea? = nil, notifier: FileDescriptor? = nil
    ) {
        self.log = log
        self.logsBuffers = logsBuffers
        self.used = used
        self.descriptors = descriptors
        self.notifier = notifier
    }
}

/// What becomes of the requests in flight when a ring stops.
public enum RingStop: Sendable {
    /// They are waited for, up to the device's own time limit.
    case drain
    /// Those that the disk has not got yet stay marked in the inflight region, for whoever starts the ring next
    /// (GET_VRING_BASE_INFLIGHT); the others are waited for. Without a region it is a drain.
    case leaveInflight
}

/// Why a device would not start a ring.
public struct RingStartError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The reason as a person reads it.
    public var description: String

    /// Takes the reason.
    public init(_ description: String) { self.description = description }
}
