import BlockExport
import ControlAPI
import LinuxSystem

/// What each method of the control socket does.
@ControlActor
struct ControlMethods {
    let registry: ExportRegistry
    let pollers: PollerGroup
    /// What `daemon.version` tells, but for the uptime.
    let identity: DaemonVersion.Result
    /// When the daemon started, monotonic nanoseconds.
    let startTime: UInt64
    /// What the configuration file sets for exports.
    let defaults: ExportDefaults

    /// Answers a request. The switch is over all methods of the table: one that is not here does not compile.
    func answer(_ request: RPCRequest) async -> Result<JSONValue, ControlError> {
        guard let name = MethodName(rawValue: request.method) else {
            let hint = "known are " + MethodName.allCases.map(\.rawValue).joined(separator: ", ")
            return .failure(ControlError(.methodNotFound, "there is no method '\(request.method.prefix(64))'", field: "method", hint: hint))
        }
        return switch name {
        case .exportCreate: await call(ExportCreate.self, request, create)
        case .exportList: await call(ExportList.self, request, list)
        case .exportShow: await call(ExportShow.self, request, show)
        case .exportDelete: await call(ExportDelete.self, request, delete)
        case .exportResize: await call(ExportResize.self, request, resize)
        case .exportRetry: await call(ExportRetry.self, request, retry)
        case .exportAttach: await call(ExportAttach.self, request, attach)
        case .pollerList: await call(PollerList.self, request, listPollers)
        case .pollerMove: await call(PollerMove.self, request, move)
        case .pollerRebalance: await call(PollerRebalance.self, request, rebalance)
        case .statsGet: await call(StatsGet.self, request, statistics)
        case .eventsSubscribe: await call(EventsSubscribe.self, request, subscribe)
        case .daemonVersion: await call(DaemonVersion.self, request, version)
        case .discover: await call(Discover.self, request, discover)
        }
    }

    /// Checks the parameters, runs the method, writes the result as JSON.
    private func call<Method: ControlMethod>(
        _ method: Method.Type, _ request: RPCRequest, _ body: (Method.Parameters) async throws(ControlError) -> Method.Result
    ) async -> Result<JSONValue, ControlError> {
        do {
            let result = try await body(try Method.Parameters(checking: request.parameters))
            return .success(try JSONText.value(of: result))
        } catch let error as ControlError {
            return .failure(error)
        } catch {
            return .failure(
                ControlError(.internal, "the result of \(request.method) cannot be written: \(error)", hint: "please report this"))
        }
    }

    private func create(_ parameters: ExportParameters) async throws(ControlError) -> ExportInfo {
        try await registry.create(defaults.completing(parameters), origin: .control)
    }

    private func list(_: NoParameters) async throws(ControlError) -> ExportList.Result { .init(exports: registry.list) }

    private func show(_ parameters: ExportReference) async throws(ControlError) -> ExportInfo { try registry.show(parameters.name) }

    private func delete(_ parameters: ExportDelete.Parameters) async throws(ControlError) -> ExportDelete.Result {
        let returns = try await registry.delete(parameters.name, force: parameters.force ?? false)
        return .init(name: parameters.name, returnsAtStart: returns)
    }

    private func resize(_ parameters: ExportResize.Parameters) async throws(ControlError) -> ExportInfo {
        try await registry.resize(parameters.name, to: parameters.size, force: parameters.force ?? false)
    }

    private func retry(_ parameters: ExportReference) async throws(ControlError) -> ExportInfo { try registry.retryHeld(parameters.name) }

    private func attach(_ parameters: ExportAttach.Parameters) async throws(ControlError) -> ExportAttach.Result {
        guard let text = AttachText(try registry.show(parameters.name)) else {
            let hint = "its owner passed the socket to vhublkd and connects the virtual machine itself"
            throw ControlError(.unsupported, "export '\(parameters.name)' has no socket path", field: "name", hint: hint)
        }
        return text.result(parameters.format, qemuVersion: parameters.qemuVersion.flatMap { QEMUVersion(parsing: $0) })
    }

    private var pollerInfos: [PollerInfo] { pollers.status.map { PollerInfo($0) } }

    private func listPollers(_: NoParameters) async throws(ControlError) -> PollerList.Result { .init(pollers: pollerInfos) }

    private func move(_ parameters: PollerMove.Parameters) async throws(ControlError) -> PollerMove.Result {
        try await registry.moveQueue(parameters.queue, of: parameters.export, to: parameters.cpu)
        return .init(pollers: pollerInfos)
    }

    private func rebalance(_: NoParameters) async throws(ControlError) -> PollerRebalance.Result {
        .init(moved: await Rebalance.run(registry.serving).map { MovedQueue(export: $0.export, queue: $0.queue, cpu: $0.cpu) })
    }

    private func statistics(_ parameters: StatsGet.Parameters) async throws(ControlError) -> StatsGet.Result {
        let exports: [Export]
        if let name = parameters.name {
            exports = try registry.export(name).map { [$0] } ?? []
        } else {
            exports = registry.serving
        }
        return .init(
            timeNS: MonotonicClock.now(), exports: exports.map { ExportStats(name: $0.configuration.name, $0.statistics) },
            pollers: pollerInfos)
    }

    /// Checks the name only: the connection is subscribed by whoever has it, if there is room.
    private func subscribe(_ parameters: EventsSubscribe.Parameters) async throws(ControlError) -> EventsSubscribe.Result {
        if let name = parameters.name { _ = try registry.show(name) }
        return .init(sequence: registry.events.sequence)
    }

    private func version(_: NoParameters) async throws(ControlError) -> DaemonVersion.Result {
        var result = identity
        result.uptimeNS = MonotonicClock.now() &- startTime
        return result
    }

    private func discover(_: NoParameters) async throws(ControlError) -> JSONValue { OpenRPCDocument.value }
}
