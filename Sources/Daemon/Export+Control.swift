import BlockExport
import BlockIO
import ControlAPI
import LinuxSystem
import Logging

extension ExportConfiguration {
    /// What `parameters`, which were checked and have a socket unless it was inherited, and the daemon's settings say in the words of
    /// BlockExport.
    init(_ parameters: ExportParameters, descriptor: FileDescriptor?, _ settings: DaemonSettings) throws(ControlError) {
        let backing: BackingSpec
        do {
            backing = try BackingSpec(parsing: parameters.backing)
        } catch {
            throw ControlError(.invalidParameters, "\(error)", field: "backing")
        }
        let endpoint: Endpoint = descriptor.map { .descriptor($0) } ?? .path(parameters.socket ?? "")
        self.init(name: parameters.name, backing: backing, endpoint: endpoint)
        queueCount = parameters.queues ?? queueCount
        queueSize = parameters.queueSize ?? queueSize
        engine = parameters.engine.map { $0.kind } ?? engine
        isReadOnly = parameters.readOnly ?? isReadOnly
        serial = parameters.serial
        blockSize = parameters.blockSize
        pollMode = parameters.poll.map { $0.mode } ?? pollMode
        cpus = parameters.cpus?.cpus
        directIO = parameters.directIO.map { $0.mode } ?? directIO
        socketMode = parameters.socketMode.flatMap { UInt32($0, radix: 8) } ?? socketMode
        socketGroup = parameters.socketGroup
        errorPolicy = parameters.onError.map { $0.policy } ?? errorPolicy
        spinNanosecondsMax = parameters.spinUS.map { UInt64($0) * 1000 } ?? spinNanosecondsMax
        if let microseconds = parameters.coalesceUS, microseconds > 0 {
            coalescing = CoalescingLimits(
                nanoseconds: UInt64(microseconds) * 1000, count: parameters.coalesceCount ?? ExportParameters.coalesceCountDefault)
        }
        pollsCompletions = parameters.ioPoll ?? pollsCompletions
        registersMemory = parameters.registerMemory ?? registersMemory
        offersPostcopy = parameters.postCopy ?? offersPostcopy
        drainTimeoutNanoseconds = settings.drainTimeoutNanoseconds
    }
}

extension ErrorChoice {
    var policy: ErrorPolicy { holdSeconds.map { .hold(timeoutNanoseconds: UInt64($0) * 1_000_000_000) } ?? .report }

    init(_ policy: ErrorPolicy) {
        switch policy {
        case .report: self = .report
        case .hold(let nanoseconds): self.init(holdSeconds: Int(nanoseconds / 1_000_000_000))
        }
    }
}

extension ControlAPI.EngineChoice {
    var kind: EngineKind {
        switch self {
        case .auto: .automatic
        case .ioURing: .ioURing
        case .libaio: .libaio
        }
    }
}

extension PollChoice {
    var mode: PollMode {
        switch self {
        case .busy: .busy
        case .adaptive: .adaptive
        case .interrupt: .interrupt
        }
    }

    init(_ mode: PollMode) {
        switch mode {
        case .busy: self = .busy
        case .adaptive: self = .adaptive
        case .interrupt: self = .interrupt
        }
    }
}

extension DirectIOChoice {
    var mode: DirectIO {
        switch self {
        case .auto: .automatic
        case .on: .on
        case .off: .off
        }
    }
}

extension ControlError {
    /// A refusal of BlockExport in the words of the control socket.
    init(_ error: ExportError) {
        let kind: ErrorKind =
            switch (error.kind, error.field) {
            case (.invalid, "backing"): .backing
            case (.invalid, _): .invalidParameters
            case (.notFound, _): .backing
            case (.exists, "socket"), (.system, "socket"), (.permission, "socket"): .socket
            case (.exists, _): .exists
            case (.busy, _): .busy
            case (.permission, _): .permission
            case (.unsupported, _): .unsupported
            case (.system, "backing"): .backing
            case (.system, _): .system
            }
        let hint = error.hint.isEmpty ? Self.generalHint(error) : error.hint
        self.init(kind, error.message, field: error.field.map(Self.snakeCase), hint: hint)
    }

    /// What can be said when the refusal itself says nothing.
    private static func generalHint(_ error: ExportError) -> String {
        switch error.kind {
        case .invalid where error.field == "backing": "its size must be a positive multiple of the block size"
        case .system: "the kernel's log (dmesg) may tell more"
        default: "see docs/control-api.md"
        }
    }

    /// `socketGroup` as the control socket writes it: `socket_group`.
    private static func snakeCase(_ name: String) -> String {
        name.reduce(into: "") { $0 += $1.isUppercase ? "_\($1.lowercased())" : String($1) }
    }
}

extension ExportInfo {
    /// Takes over what a serving export tells of itself.
    mutating func update(from status: ExportStatus) {
        size = status.sizeBytes
        backingLocked = status.isLocked
        backingConflict = status.backingConflict
        blockSize = status.blockSize
        readOnly = status.isReadOnly
        serial = status.serial
        socket = status.socketPath
        engine = status.engine
        engineReason = status.engineReason
        directIO = status.isDirect
        bufferedReason = status.bufferedReason
        poll = PollChoice(status.pollMode)
        writeback = status.isWriteback
        node = status.backingNode
        onError = ErrorChoice(status.errorPolicy)
        spinUS = Int(status.spinNanosecondsMax / 1000)
        coalesceUS = status.coalescing.map { Int($0.nanoseconds / 1000) } ?? 0
        coalesceCount = status.coalescing?.count
        ioPoll = status.pollsCompletions
        registerMemory = status.registersMemory
        postcopyRefusal = status.postcopyRefusal
        hold = status.hold.map {
            HoldInfo(requests: $0.requests, durationNS: $0.nanoseconds, tries: $0.tries, lastError: $0.error)
        }
        backingStats = BackingStats(status.channel)
        frontend = status.frontend.map { frontend in
            FrontendInfo(
                pid: frontend.processID.map(Int.init), features: frontend.featureNames, protocolFeatures: frontend.protocolFeatureNames,
                memoryRegions: frontend.regionCount, memoryBytes: frontend.memoryBytes, deviceStatus: frontend.deviceStatus.map(Int.init),
                logBytes: frontend.logBytes, activities: frontend.activities)
        }
        queues = status.queues.map { queue in
            var info = QueueInfo(
                index: queue.index, state: queue.state, size: queue.size, format: queue.format.isEmpty ? nil : queue.format)
            (info.started, info.enabled) = (queue.isStarted, queue.isEnabled)
            info.cpu = queue.cpu
            info.node = queue.node
            info.memoryNode = queue.memoryNode
            info.crossesNodes = queue.crossesNodes
            info.inFlight = queue.inFlight
            info.held = queue.held
            info.oldestInFlightNS = queue.oldestInFlightNanoseconds
            (info.registeredBytes, info.unregisteredReason) = (queue.registeredBytes, queue.unregisteredReason)
            return info
        }
    }
}

extension PollerInfo {
    init(_ status: PollerStatus) {
        self.init(
            cpu: status.cpu, node: status.node, cpuTimeNS: status.cpuNanoseconds, busyLoops: status.busyLoops,
            idleLoops: status.idleLoops, sleeps: status.sleeps,
            queues: status.queues.map {
                PollerQueueInfo(export: $0.export, queue: $0.queue, reason: $0.reason, crossesNodes: $0.crossesNodes)
            })
    }
}

extension ExportStats {
    init(name: String, _ statistics: ExportStatistics) {
        self.init(
            name: name, total: QueueStats(statistics.total), queues: statistics.queues.map { QueueStats($0) },
            memoryLosses: statistics.memoryLosses)
    }
}

extension QueueStats {
    init(_ statistics: QueueStatistics) {
        self.init()
        read = OperationStats(statistics.read)
        write = OperationStats(statistics.write)
        flush = OperationStats(statistics.flush)
        discard = OperationStats(statistics.discard)
        writeZeroes = OperationStats(statistics.writeZeroes)
        other = OperationStats(statistics.other)
        ioErrors = statistics.ioErrors
        unsupported = statistics.unsupported
        malformed = statistics.malformed
        notifications = statistics.notificationsSent
        dispatches = statistics.dispatches
        emptyDispatches = statistics.emptyDispatches
        batchMax = statistics.batchMax
        inFlight = statistics.inFlight
        stalls = statistics.stalls
        held = statistics.held
        heldTotal = statistics.heldTotal
        holdTimeouts = statistics.holdTimeouts
        backing = BackingStats(statistics.channel)
    }
}

extension BackingStats {
    init(_ counters: IOChannelCounters) {
        self.init()
        bounced = counters.bounced
        bounceWaits = counters.bounceWaits
        engineFullWaits = counters.engineFullWaits
        shortTransfers = counters.shortTransfers
        retries = counters.retries
        ignoredDiscards = counters.ignoredDiscards
        writtenZeroes = counters.writtenZeroes
        errors = counters.errors
    }
}

extension OperationStats {
    init(_ statistics: OperationStatistics) {
        self.init()
        requests = statistics.requests
        bytes = statistics.bytes
        latencyNSSum = statistics.latencyNanosecondsSum
        latencyNS50 = statistics.latency.percentile(0.5)
        latencyNS99 = statistics.latency.percentile(0.99)
        latencyNS999 = statistics.latency.percentile(0.999)
        latencyNSMax = statistics.latency.percentile(1)
    }
}
