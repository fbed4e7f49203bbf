import LinuxSystem

/// A request queue of either ring format: what `BlockDriver` and tests need of it. Hot loops take the concrete `BlockQueue` instead.
public protocol BlockRequestQueue {
    /// The queue's shape.
    var layout: BlockQueueLayout { get }
    /// What the back-end is told of the ring.
    var endpoint: RingEndpoint { get }
    /// Buffers that are with the device.
    var inFlight: Int { get }
    /// The vring base when the device has given back everything.
    var base: UInt32 { get }
    /// The vring base after the back-end vanished.
    var baseAfterCrash: UInt32 { get }
    /// Kicks sent so far.
    var kickCount: UInt64 { get }

    /// Memory of a slot's data.
    func buffer(_ slot: Int) -> SharedBuffer
    /// Submits a request over the start of the slot's memory; false when the ring has no room.
    mutating func submit(_ command: BlockCommand, slot: Int, sector: UInt64, length: Int, toDevice: Bool) -> Bool
    /// Submits a request over any guest memory.
    mutating func submit(_ command: BlockCommand, slot: Int, sector: UInt64, pieces: [DriverSegment], toDevice: Bool) -> Bool
    /// Submits discard, write zeroes or secure erase.
    mutating func submit(_ command: BlockCommand, slot: Int, ranges: [SectorRange]) -> Bool
    /// Adds a chain of any shape; its completion names the token, and its status is the one of the slot with that number.
    mutating func submitRaw(token: Int, readable: [DriverSegment], writable: [DriverSegment], indirect: Bool) -> Bool
    /// Shows the device what was submitted and kicks it if it wants that.
    mutating func flushSubmissions()
    /// Takes one request that came back.
    mutating func poll(_ completion: inout BlockCompletion) -> ReapResult
    /// Asks for a signal; true when something is there already.
    mutating func enableCalls() -> Bool
    /// Sleeps until the device signals, or the time is over.
    func sleep(nanoseconds: Int64)
}

extension BlockQueue: BlockRequestQueue {
    /// What the back-end is told of the ring.
    public var endpoint: RingEndpoint {
        RingEndpoint(area: ring.area, kick: kickEvent.descriptor, call: callEvent.descriptor)
    }

    /// Buffers that are with the device.
    public var inFlight: Int { ring.inFlight }
    /// The vring base when the device has given back everything.
    public var base: UInt32 { ring.base }
    /// The vring base after the back-end vanished.
    public var baseAfterCrash: UInt32 { ring.baseAfterCrash }
    /// Asks for a signal; true when something is there already.
    public mutating func enableCalls() -> Bool { ring.enableCalls() }

    /// Adds a chain of any shape.
    public mutating func submitRaw(token: Int, readable: [DriverSegment], writable: [DriverSegment], indirect: Bool) -> Bool {
        ring.add(token: UInt32(token), readable: readable, writable: writable, indirect: indirect)
    }
}
