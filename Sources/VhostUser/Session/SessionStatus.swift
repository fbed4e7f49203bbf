public import Virtio

/// What a session has negotiated and does, for a person to look at.
public struct SessionStatus: Equatable, Sendable {
    /// One ring.
    public struct Ring: Equatable, Sendable {
        /// Number of descriptors; nil before SET_VRING_NUM.
        public var size: Int?
        /// Between SET_VRING_KICK and GET_VRING_BASE.
        public var isStarted: Bool
        /// Enabled by SET_VRING_ENABLE, or by SET_FEATURES without protocol features.
        public var isEnabled: Bool
        /// The device processes it.
        public var isRunning: Bool
        /// The driver does not kick; the device looks at the ring all the time.
        public var isPolled: Bool
        /// Why it does not run although it should.
        public var breakage: String?
    }

    /// SET_OWNER came.
    public var isOwned: Bool
    /// Device features in force.
    public var features: VirtioFeatures
    /// Protocol features in force.
    public var protocolFeatures: ProtocolFeatures
    /// Virtio device status.
    public var deviceStatus: UInt8
    /// The rings, by index.
    public var rings: [Ring]
    /// Number of memory regions.
    public var memoryRegionCount: Int
    /// Bytes of guest memory.
    public var memoryByteCount: UInt64
    /// The back-end may send requests of its own.
    public var hasBackendChannel: Bool
    /// Bytes of the dirty log that SET_LOG_BASE gave; nil before.
    public var logByteCount: UInt64?
    /// Writes to guest memory are logged: VHOST_F_LOG_ALL is set and there is a log.
    public var isLogging: Bool
    /// Between crosvm's SLEEP and WAKE.
    public var isAsleep: Bool
    /// The device's state is on its way (SET_DEVICE_STATE_FD).
    public var isMovingState: Bool
    /// Between POSTCOPY_LISTEN and POSTCOPY_END: guest memory is not all there.
    public var isAwaitingMemory: Bool
}

extension Session {
    /// How things stand.
    public var status: SessionStatus {
        SessionStatus(
            isOwned: isOwned, features: features, protocolFeatures: protocolFeatures, deviceStatus: deviceStatus,
            rings: rings.map { ring in
                SessionStatus.Ring(
                    size: ring.size, isStarted: ring.isStarted, isEnabled: ring.isEnabled, isRunning: ring.activity == .running,
                    isPolled: ring.isPolled, breakage: ring.breakage)
            }, memoryRegionCount: memoryTable.entries.count, memoryByteCount: memoryTable.byteCount, hasBackendChannel: channel.isOpen,
            logByteCount: logging.log?.byteCount, isLogging: features.contains(.logAll) && logging.log != nil,
            isAsleep: isAsleep, isMovingState: stateTransfer.progress == .running, isAwaitingMemory: postcopy.isListening)
    }
}
