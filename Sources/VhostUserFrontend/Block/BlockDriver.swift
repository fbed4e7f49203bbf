import LinuxSystem
import VhostUser
public import Virtio

/// The bits of the device status (virtio 1.3, 2.1).
public enum DeviceStatus {
    /// ACKNOWLEDGE: the device was seen.
    public static let acknowledge: UInt8 = 1
    /// DRIVER: there is a driver for it.
    public static let driver: UInt8 = 2
    /// DRIVER_OK: it is driven.
    public static let driverOK: UInt8 = 4
    /// FEATURES_OK: the features are chosen.
    public static let featuresOK: UInt8 = 8
    /// DEVICE_NEEDS_RESET: the device cannot go on.
    public static let needsReset: UInt8 = 64
    /// FAILED: the driver gave up.
    public static let failed: UInt8 = 128
}

/// A virtio-blk driver over a vhost-user back-end: connects, negotiates, starts the queues, and survives the back-end's death.
///
/// It belongs to one thread, but each of `queues` may be copied out and driven by a thread of its own: rings, memory and eventfds stay the same
/// over a reconnection, so that such a thread notices no more of it than a pause.
public final class BlockDriver {
    /// How the driver was set up.
    public let options: BlockDriverOptions
    /// The connection; another one after `reconnect`.
    public private(set) var connection: FrontendConnection
    /// What was negotiated.
    public let features: VirtioFeatures
    /// The config space as it was read last.
    public private(set) var config: BlockConfig
    /// Guest memory.
    public let memory: DriverMemory
    /// The request queues.
    public var queues: [any BlockRequestQueue]
    /// The inflight region that the back-end gave.
    public private(set) var inflight: InflightHandover?
    /// The back-end channel, when it was opened.
    public private(set) var channel: BackendChannel?
    /// What answers the back-end's misses while the rings run, with ``BlockDriverOptions/usesIOMMU``.
    public private(set) var translations: TranslationServer?
    /// With this, which has taken the contents of ``memory``, the next back-end gets its memory page by page: `reconnect` arrives there by
    /// post-copy, and ``endPostcopy()`` ends that. PAGEFAULT has to be among the options' protocol features.
    public var pageSource: PageSource?
    private var iommu = IOMMU()
    /// How far guest-physical addresses are above I/O virtual ones, so that a back-end that mixes them up is caught.
    private static let tableOffset: UInt64 = 0x80_0000_0000
    /// When the connection in use was made, in nanoseconds of the monotonic clock.
    public private(set) var connectedAt: UInt64
    private var path: String?
    let endpoints: [RingEndpoint]
    private var stopped: [Int: UInt32] = [:]

    /// Connects to the back-end at `path` and starts the device.
    public convenience init(path: String, options: BlockDriverOptions = BlockDriverOptions()) throws(FrontendError) {
        let deadline = MonotonicClock.now() &+ options.patienceNanoseconds
        while true {
            let connection: FrontendConnection
            do throws(FrontendError) {
                connection = try FrontendConnection(path: path, timeoutNanoseconds: options.timeoutNanoseconds)
                try connection.open(protocolFeatures: options.protocolFeatures)
            } catch {
                let isPassing = error.kind == .disconnected || options.waitsForBackend && error.kind == .connect
                guard isPassing, MonotonicClock.now() < deadline else { throw error }
                Self.wait(nanoseconds: 10_000_000)
                continue
            }
            try self.init(opened: connection, path: path, options: options)
            return
        }
    }

    /// Starts the device over a connection on which nothing was sent yet; `reconnect` needs the path.
    public convenience init(
        connection: FrontendConnection, path: String? = nil, options: BlockDriverOptions = BlockDriverOptions()
    ) throws(FrontendError) {
        try connection.open(protocolFeatures: options.protocolFeatures)
        try self.init(opened: connection, path: path, options: options)
    }

    private init(opened connection: FrontendConnection, path: String?, options: BlockDriverOptions) throws(FrontendError) {
        self.connection = connection
        self.path = path
        connectedAt = MonotonicClock.now()
        var options = options
        features = try Self.choose(&options, offered: connection.offeredFeatures)
        self.options = options
        let queueCountMax = try connection.queueCountMax()
        guard options.queueCount <= queueCountMax else {
            throw FrontendError(
                .notOffered, "the back-end has \(queueCountMax) queues, \(options.queueCount) are wanted",
                hint: "ask for fewer, or give the export more queues")
        }
        config = try connection.readBlockConfig()
        let ranges = options.memory ?? [Self.range(options)]
        do { memory = try DriverMemory(shared: ranges, isScattered: options.usesIOMMU && options.scattersPages) } catch {
            throw FrontendError(.memory, "cannot make guest memory: \(error)")
        }
        if options.usesIOMMU {
            memory.tableOffset = Self.tableOffset
            iommu.map(memory)
        }
        var queues: [any BlockRequestQueue] = []
        for _ in 0..<options.queueCount {
            switch options.layout.format {
            case .split: queues.append(try BlockQueue<DriverSplitQueue>(layout: options.layout, memory: memory))
            case .packed: queues.append(try BlockQueue<DriverPackedQueue>(layout: options.layout, memory: memory))
            }
        }
        self.queues = queues
        endpoints = queues.map { queue in
            var endpoint = queue.endpoint
            if options.asksForPolling { endpoint.kick = nil }
            endpoint.isInband = options.usesInbandNotifications
            return endpoint
        }
        try start()
    }

    /// One region with room for all queues; not at address 0, so that a back-end that mixes address spaces up is caught.
    private static func range(_ options: BlockDriverOptions) -> DriverMemory.Range {
        var layout = options.layout
        layout.options.indirectCapacity = max(layout.options.indirectCapacity, layout.dataSegmentsMax + 2)
        let size = (layout.memoryBytes * options.queueCount + 0x1f_ffff) & ~0x1f_ffff
        return DriverMemory.Range(guestAddress: 0x4000_0000, size: size)
    }

    /// The features to acknowledge; what the ring cannot do without must be offered.
    private static func choose(_ options: inout BlockDriverOptions, offered: VirtioFeatures) throws(FrontendError) -> VirtioFeatures {
        var wanted = options.features
        if options.layout.format == .packed {
            guard offered.contains(.ringPacked) else {
                throw FrontendError(.notOffered, "the back-end does not offer packed rings", hint: "use split ones")
            }
            wanted.insert(.ringPacked)
        }
        if options.usesIOMMU {
            guard offered.contains(.accessPlatform) else {
                throw FrontendError(.notOffered, "the back-end does not offer ACCESS_PLATFORM", hint: "go without the IOMMU")
            }
            wanted.insert(.accessPlatform)
        }
        if options.layout.options.eventIndex { wanted.insert(.ringEventIndex) }
        if options.layout.options.indirect { wanted.insert(.ringIndirectDescriptors) }
        let chosen = offered.intersection(wanted)
        options.layout.options.eventIndex = chosen.contains(.ringEventIndex)
        options.layout.options.indirect = chosen.contains(.ringIndirectDescriptors)
        return chosen
    }

    /// Tells the back-end everything it needs to run the queues, and enables them.
    private func start() throws(FrontendError) {
        try setStatus(DeviceStatus.acknowledge | DeviceStatus.driver)
        try connection.acknowledge(features)
        try setStatus(DeviceStatus.acknowledge | DeviceStatus.driver | DeviceStatus.featuresOK)
        if options.usesBackendChannel || options.usesIOMMU, connection.protocolFeatures.contains(.backendChannel) {
            channel = try connection.openBackendChannel()
        }
        if options.tracksInflight, connection.protocolFeatures.contains(.inflightSharedMemory) {
            if inflight == nil {
                inflight = try connection.inflightRegion(queueCount: queues.count, queueSize: options.layout.ringSize)
            }
            if let inflight { try connection.setInflightRegion(inflight) }
        }
        if let pageSource {
            try giveAwaitedMemory(pageSource)
        } else {
            try connection.setMemory(memory, oneByOne: options.addsRegionsOneByOne)
        }
        for (index, endpoint) in endpoints.enumerated() {
            try connection.setRing(index, endpoint, base: base(index))
        }
        stopped = [:]
        if connection.features.contains(.protocolFeatures) {
            for index in endpoints.indices { try connection.setEnabled(index, true) }
        }
        if options.usesInbandNotifications {
            for index in endpoints.indices { try connection.kickRing(index) }
        }
        try setStatus(DeviceStatus.acknowledge | DeviceStatus.driver | DeviceStatus.featuresOK | DeviceStatus.driverOK)
        guard options.usesIOMMU else { return }
        guard let channel else {
            throw FrontendError(.notOffered, "the back-end offers no back-end channel, on which it would tell misses")
        }
        translations = try TranslationServer(connection, channel, iommu)
    }

    /// The connection is the driver's thread's alone again; the mappings stay.
    private func endTranslations() {
        guard let server = translations else { return }
        server.end()
        iommu = server.iommu
        translations = nil
    }

    /// Tells the back-end how far the driver is, when STATUS is negotiated.
    private func setStatus(_ status: UInt8) throws(FrontendError) {
        if connection.protocolFeatures.contains(.status) { try connection.setStatus(status) }
    }

    /// Where ring `index` goes on: where GET_VRING_BASE said, else what the driver's side tells of it.
    private func base(_ index: Int) -> UInt32 {
        if let base = stopped[index] { return base }
        // With an inflight region the queue may be driven by another thread while this runs. A split ring's used index is in shared memory;
        // of a packed ring QEMU, too, tells where it once started, and the region knows better.
        if options.layout.format == .packed, inflight != nil { return 0x8000_8000 }
        return queues[index].baseAfterCrash
    }

    /// Stops all rings with GET_VRING_BASE; `reconnect` or `resume` goes on from there.
    public func stop() throws(FrontendError) {
        endTranslations()
        for index in endpoints.indices { stopped[index] = try connection.stopRing(index) }
    }

    /// Starts the rings again after `stop`, over the same connection.
    public func resume() throws(FrontendError) {
        try start()
    }

    /// Goes on with the back-end at another path, as a virtual machine that migrates does, with the same rings and memory. Call `stop` before.
    ///
    /// - Parameter leavesRequests: GET_VRING_BASE_INFLIGHT is negotiated: requests that the first back-end left in the inflight region go
    ///   along with it. Otherwise the second one is asked for a region of its own.
    public func move(to path: String, leavesRequests: Bool = false, timeoutNanoseconds: UInt64) throws(FrontendError) {
        if !leavesRequests { inflight = nil }
        self.path = path
        try reconnect(timeoutNanoseconds: timeoutNanoseconds)
    }

    /// Connects again after the back-end went away, trying every millisecond for `timeoutNanoseconds`, and goes on with the same rings and
    /// memory. `willStart` is called when a back-end has answered, before its rings start: what completes later is that one's work; once
    /// more for each back-end that goes away in between.
    public func reconnect(timeoutNanoseconds: UInt64, willStart: () -> Void = {}) throws(FrontendError) {
        guard let path else { throw FrontendError(.connect, "the connection was handed over: there is no path to connect to again") }
        connection.close()
        endTranslations()
        channel = nil
        let deadline = MonotonicClock.now() &+ timeoutNanoseconds
        while true {
            do throws(FrontendError) {
                let next = try FrontendConnection(path: path, timeoutNanoseconds: options.timeoutNanoseconds)
                let attempt = MonotonicClock.now()
                try next.open(protocolFeatures: options.protocolFeatures)
                guard next.offeredFeatures.isSuperset(of: features) else {
                    let missing = features.subtracting(next.offeredFeatures)
                    throw FrontendError(.notOffered, "the back-end came back without \(missing), which is in use")
                }
                connection = next
                connectedAt = attempt
                willStart()
                try start()
                return
            } catch {
                let isPassing = error.kind == .connect || error.kind == .disconnected || error.kind == .timedOut
                if !isPassing || MonotonicClock.now() >= deadline { throw error }
                Self.wait(nanoseconds: 1_000_000)
            }
        }
    }

    private static func wait(nanoseconds: Int64) {
        guard let poller = try? Epoll() else { return }
        unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
            _ = unsafe poller.wait(into: ready, timeoutNanoseconds: nanoseconds)
        }
    }

    /// Reads the config space again, as a driver does after CONFIG_CHANGE.
    public func refreshConfig() throws(FrontendError) { config = try connection.readBlockConfig() }

    /// Ends the connection.
    public func close() {
        connection.close()
        endTranslations()
    }
}
