public import LinuxSystem
public import Virtio

/// What a session asks of the device behind it.
///
/// Everything is called on the session's own thread, and completions have to be called there too, once each, at once or later; until then
/// the session handles no further message. A session that ends calls `stopRing` for what still runs and waits for that alone.
///
/// The session keeps the ring states of the specification; a device only knows rings that run and rings that do not.
public protocol SessionDevice: AnyObject {
    /// The device features, without VHOST_USER_F_PROTOCOL_FEATURES, which the session adds.
    var offeredFeatures: VirtioFeatures { get }
    /// The protocol features; the session leaves out what it does not serve.
    var offeredProtocolFeatures: ProtocolFeatures { get }
    /// Number of rings, 1 to 256.
    var queueCount: Int { get }
    /// Most descriptors of a ring, at most 32768.
    var queueSizeMax: Int { get }

    /// `size` bytes (1 to 256) of the config space at `offset`; nil when the device has no such bytes.
    func readConfig(offset: Int, size: Int) -> [UInt8]?
    /// Writes to the config space; false when a byte may not be written. A migration may write any field.
    func writeConfig(offset: Int, bytes: [UInt8], isMigration: Bool) -> Bool

    /// SET_FEATURES was accepted, or a reset cleared them. Rings that run go on; only VHOST_F_LOG_ALL changes under them.
    func featuresDidChange(_ features: VirtioFeatures)
    /// SET_STATUS was accepted, or a reset cleared it. With 0, `resetDevice` has been called before.
    func statusDidChange(_ status: UInt8)

    /// The ring is started and enabled: look at it at once, without a kick, and signal its call descriptor once, since a signal from
    /// before a reconnection may be lost.
    func startRing(_ index: Int, _ ring: RingConfiguration) throws(RingStartError)
    /// Stops a ring that runs. At the completion nothing touches its memory, its inflight part or its descriptors any more; the completion
    /// gets the base at which the ring would go on. Other rings go on meanwhile.
    func stopRing(_ index: Int, _ mode: RingStop, completion: @escaping (RingBase) -> Void)
    /// Changes something on a ring that runs; at the completion the data path uses the new, and no longer the old.
    func changeRing(_ index: Int, _ change: RingChange, completion: @escaping () -> Void)
    /// Guest memory is another. `rings` are those that run, with the place of their areas in it. At the completion no poller uses the
    /// old memory for new requests; the device keeps it mapped for as long as requests in flight point into it.
    func replaceMemory(_ memory: GuestMemory, rings: [Int: RingPlace], completion: @escaping () -> Void)

    /// POSTCOPY_END: all pages of guest memory are said to be there. Completes with true when every ring that runs has shown that it waits for
    /// none, with false when one did not in time. Rings that start with awaited memory (`RingConfiguration.memory`), and those that
    /// `replaceMemory` gives some, may wait for pages at any time, and must hold up nobody else.
    func settle(completion: @escaping (Bool) -> Void)

    /// Writes the device's state into a non-blocking pipe or socket, or reads it from there to the end and makes it its own; no ring runs.
    /// Bounded in time. Completes with nil, or with the reason why the state cannot be used. Another call, or `cancelStateTransfer`, ends a
    /// transfer before.
    func transferState(saves: Bool, _ channel: FileDescriptor, completion: @escaping (String?) -> Void)
    /// Nobody waits for the transfer any more; its completion may be left out.
    func cancelStateTransfer()

    /// What the device remembers beside its rings and its data, as bytes for `restore`: crosvm's SNAPSHOT. A few hundred at most.
    var state: [UInt8] { get }
    /// Makes `state`, which another device of the kind wrote, its own; nil, or the reason why it cannot be used. No ring runs.
    func restore(_ state: [UInt8]) -> String?

    /// RESET_DEVICE, or status 0: back to the initial state. No ring runs.
    func resetDevice()
}

/// A device that remembers nothing beside its rings and its data.
extension SessionDevice {
    /// Nothing.
    public var state: [UInt8] { [] }
    /// No ring waits.
    public func settle(completion: @escaping (Bool) -> Void) { completion(true) }
    /// Takes nothing.
    public func restore(_ state: [UInt8]) -> String? { state.isEmpty ? nil : "this device has none" }
}
