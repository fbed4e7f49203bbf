internal import BlockIO
internal import LinuxSystem
internal import Synchronization
internal import VhostUser
internal import Virtio

/// Pictures of an export for people and programs.
extension Export {
    /// The export as it is now.
    public var status: ExportStatus {
        let backing = disk.backing
        return ExportStatus(
            name: configuration.name, backing: configuration.backing.description, socketPath: socketPath, sizeBytes: disk.bytes,
            blockSize: Int(backing.blockSize), isReadOnly: backing.isReadOnly, serial: disk.serialText, engine: disk.choice.engine.rawValue,
            engineReason: disk.choice.reason, isDirect: backing.isDirect, bufferedReason: backing.isDirect ? nil : backing.bufferedReason,
            pollMode: configuration.pollMode, isWriteback: disk.isWriteback, backingNode: backing.node,
            isLocked: backing.isLockable && device.lock.isHeld, backingConflict: device.lock.conflict, frontend: frontendStatus,
            errorPolicy: configuration.errorPolicy, hold: holdStatus,
            spinNanosecondsMax: configuration.spinNanosecondsMax, coalescing: configuration.coalescing,
            pollsCompletions: disk.choice.pollsCompletions, registersMemory: configuration.registersMemory,
            postcopyRefusal: device.postcopyRefusal,
            channel: statistics.total.channel,
            queues: device.queues.map(status(of:)))
    }

    /// Counters since the export was made.
    public var statistics: ExportStatistics {
        var statistics = ExportStatistics()
        for queue in device.queues {
            let counters = queue.counters.snapshot()
            statistics.queues.append(counters)
            statistics.total.merge(counters)
        }
        statistics.memoryLosses = memoryLosses
        return statistics
    }

    private var socketPath: String? {
        if case .path(let path) = configuration.endpoint { path } else { nil }
    }

    private var holdStatus: ExportStatus.Hold? {
        let holding = device.queues.map(\.counters).filter { $0.read(.held) > 0 }
        guard let last = holding.max(by: { $0.read(.heldTries) < $1.read(.heldTries) }) else { return nil }
        let since = holding.map { $0.read(.heldSince) }.min() ?? 0
        let now = MonotonicClock.now()
        return ExportStatus.Hold(
            requests: holding.reduce(0) { $0 + $1.read(.held) }, nanoseconds: now - min(since, now), tries: last.read(.heldTries),
            error: SystemError("", errno: Int32(clamping: last.read(.heldError))).reason)
    }

    private var frontendStatus: ExportStatus.Frontend? {
        guard let connection else { return nil }
        let session = connection.session.status
        return ExportStatus.Frontend(
            processID: connection.peer?.process, features: session.features.rawValue, featureNames: session.features.bitNames,
            protocolFeatureNames: session.protocolFeatures.bitNames, regionCount: session.memoryRegionCount,
            memoryBytes: session.memoryByteCount, deviceStatus: session.protocolFeatures.contains(.status) ? session.deviceStatus : nil,
            logBytes: session.logByteCount, activities: Self.activities(of: session))
    }

    /// What a session does besides serving requests. A new kind of activity has its word here.
    private static func activities(of session: SessionStatus) -> [String] {
        var words: [String] = []
        if session.isLogging { words.append("logging") }
        if session.isAsleep { words.append("asleep") }
        if session.isMovingState { words.append("moving state") }
        if session.isAwaitingMemory { words.append("post-copy") }
        return words
    }

    private func status(of queue: ExportQueue) -> ExportStatus.Queue {
        let running = queue.running
        let oldest = queue.counters.read(.oldestStart)
        let inFlight = Int(queue.counters.read(.inFlight))
        let now = MonotonicClock.now()
        let ring = connection?.session.status.rings[queue.identity.index]
        return ExportStatus.Queue(
            index: queue.identity.index, state: queue.stateText, size: running?.ringSize ?? ring?.size ?? 0,
            isStarted: ring?.isStarted ?? false, isEnabled: ring?.isEnabled ?? false,
            format: running.map { $0.isPacked ? "packed" : "split" } ?? "", cpu: running?.poller.cpu, node: running?.poller.node,
            memoryNode: running?.memoryNode, crossesNodes: running?.place.crossesNodes ?? [], inFlight: inFlight,
            held: Int(queue.counters.read(.held)),
            oldestInFlightNanoseconds: inFlight > 0 && oldest > 0 && now > oldest ? now - oldest : nil,
            registeredBytes: queue.running == nil ? 0 : queue.registration.bytes, unregisteredReason: unregisteredReason(queue))
    }

    private func unregisteredReason(_ queue: ExportQueue) -> String? {
        guard configuration.registersMemory, queue.running != nil else { return nil }
        let engine = disk.choice.engine
        return engine == .ioURing ? queue.registration.reason : "only io_uring registers memory, and the engine is \(engine.rawValue)"
    }
}
