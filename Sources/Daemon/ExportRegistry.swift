import BlockExport
import ControlAPI
import LinuxSystem
import Logging

/// All exports of the daemon by name: makes, changes and removes them, and keeps the state directory in step.
///
/// A name is taken the moment a call begins to use it, and no two calls work on one export at a time. What fails leaves nothing behind.
@ControlActor
final class ExportRegistry {
    /// The most exports of a daemon.
    nonisolated static let exportCountMax = 4096

    struct Entry {
        var parameters: ExportParameters
        var origin: ExportOrigin
        var state: ExportState
        var export: Export?
        /// Why it is in state failed.
        var error: ControlError?
        /// A call works on it.
        var isBusy = false
    }

    private let pollers: PollerGroup
    private let stateDirectory: StateDirectory?
    /// The folder of sockets whose path nobody gave.
    private let socketFolder: String
    /// How long a ring that is stopped waits for its requests in flight.
    private let drainTimeoutNanoseconds: UInt64
    /// How much longer a removal is waited for: at the end of the time-out the rings give up, and then the export must end.
    nonisolated static let endNanosecondsMax: UInt64 = 1_000_000_000
    private let log: Logger
    private let makeLog: (String) -> Logger
    private var entries: [String: Entry] = [:]
    /// State files that cannot be used: their names are not given away.
    private var refusedStates: [String: ControlError] = [:]
    private var isStopping = false

    /// Told of the events of every export.
    var onEvent: (@ControlActor (String, ExportEvent) -> Void)?

    init(
        pollers: PollerGroup, stateDirectory: StateDirectory?, socketFolder: String, drainTimeoutNanoseconds: UInt64,
        makeLog: @escaping (String) -> Logger
    ) {
        self.drainTimeoutNanoseconds = drainTimeoutNanoseconds
        self.pollers = pollers
        self.stateDirectory = stateDirectory
        self.socketFolder = socketFolder
        self.makeLog = makeLog
        log = makeLog("exports")
    }

    // MARK: Looking

    /// All exports in the order of their names.
    var list: [ExportInfo] {
        let refused = refusedStates.filter { entries[$0.key] == nil }.map { name, error in
            var info = ExportInfo(ExportParameters(name: name, backing: ""), state: .failed, origin: .control)
            info.error = ErrorInfo(error)
            return info
        }
        return (entries.values.map(info) + refused).sorted { $0.name < $1.name }
    }

    /// One export.
    func show(_ name: String) throws(ControlError) -> ExportInfo { info(try entry(name)) }

    /// The export's object, when it serves.
    func export(_ name: String) throws(ControlError) -> Export? { try entry(name).export }

    /// The exports that serve, in the order of their names.
    var serving: [Export] { entries.values.compactMap(\.export).sorted { $0.configuration.name < $1.configuration.name } }

    private func entry(_ name: String) throws(ControlError) -> Entry {
        if let entry = entries[name] { return entry }
        if let error = refusedStates[name] { throw error }
        throw ControlError(
            .notFound, "there is no export named '\(name)'", field: "name", hint: "'vhublkctl export list' tells those there are")
    }

    private func info(_ entry: Entry) -> ExportInfo {
        var info = ExportInfo(entry.parameters, state: entry.state, origin: entry.origin)
        info.error = entry.error.map { ErrorInfo($0) }
        if let export = entry.export { info.update(from: export.status) }
        return info
    }

    // MARK: Making

    /// Makes an export; `descriptor` is its socket when it was inherited.
    @discardableResult
    func create(
        _ given: ExportParameters, origin: ExportOrigin, descriptor: FileDescriptor? = nil
    ) async throws(ControlError) -> ExportInfo {
        let parameters = try reserve(given, origin: origin, hasSocket: descriptor == nil)
        do throws(ControlError) {
            let export = try await open(parameters, descriptor: descriptor)
            if origin == .control { try await save(parameters, orElseRemove: export) }
            guard !isStopping else {
                try? await export.shutdown(force: true)
                throw Self.stopping
            }
            entries[given.name]?.export = export
            entries[given.name]?.state = .ready
            entries[given.name]?.isBusy = false
        } catch {
            entries[given.name] = nil
            throw error
        }
        return try show(given.name)
    }

    /// Makes the exports of the state directory and of the configuration file when the daemon starts, all at once. One that cannot be made
    /// stays
    /// as a failed one: the others serve, and nothing is forgotten.
    func restore(_ content: StateDirectory.Content, configured: [ExportParameters]) async {
        refusedStates = content.refused
        for (name, error) in content.refused.sorted(by: { $0.key < $1.key }) {
            log.error("export \(name) is not restored: \(error)")
        }
        if !content.foreign.isEmpty { log.notice("the state directory holds files that are not vhublkd's: \(content.foreign)") }
        let configuredNames = Set(configured.map(\.name))
        for shadowed in content.exports where configuredNames.contains(shadowed.name) {
            log.warning(
                "export \(shadowed.name) is in the configuration file and in the state directory; the configuration file's is taken")
        }
        var all = configured.map { ($0, ExportOrigin.configuration) }
        all += content.exports.filter { !configuredNames.contains($0.name) }.map { ($0, ExportOrigin.control) }
        let tasks = all.map { parameters, origin in Task { @ControlActor in await restore(parameters, origin: origin) } }
        for task in tasks { await task.value }
    }

    /// Makes those exports of a configuration that are not there yet, and tries the failed ones again.
    func reload(configured: [ExportParameters]) async {
        for parameters in configured where entries[parameters.name] == nil {
            await restore(parameters, origin: .configuration)
        }
        for entry in entries.values where entry.state == .failed && !entry.isBusy {
            entries[entry.parameters.name] = nil
            await restore(entry.parameters, origin: entry.origin)
        }
    }

    private func restore(_ given: ExportParameters, origin: ExportOrigin) async {
        let name = given.name
        let parameters: ExportParameters
        do {
            parameters = try reserve(given, origin: origin, hasSocket: true)
        } catch {
            log.error("export \(name) cannot be restored: \(error)")
            if entries[name] == nil { entries[name] = Entry(parameters: given, origin: origin, state: .failed, error: error) }
            return
        }
        do throws(ControlError) {
            let export = try await open(parameters, descriptor: nil)
            guard !isStopping else {
                try? await export.shutdown(force: true)
                return
            }
            entries[name]?.export = export
            entries[name]?.state = .ready
        } catch {
            log.error("export \(name) cannot be restored: \(error)")
            entries[name]?.state = .failed
            entries[name]?.error = error
        }
        entries[name]?.isBusy = false
    }

    /// Takes the name and completes what was not given.
    private func reserve(_ given: ExportParameters, origin: ExportOrigin, hasSocket: Bool) throws(ControlError) -> ExportParameters {
        guard !isStopping else { throw Self.stopping }
        let name = given.name
        if entries[name] != nil {
            throw ControlError(
                .exists, "an export named '\(name)' exists", field: "name", hint: "choose another name, or delete that export first")
        }
        if let error = refusedStates[name], origin == .control { throw error }
        guard entries.count < Self.exportCountMax else {
            throw ControlError(.limit, "there are \(entries.count) exports already", hint: "delete one, or run another daemon")
        }
        var parameters = given
        if hasSocket {
            let socket = given.socket ?? "\(socketFolder)/\(name).sock"
            try Schema.string(.socketPath).check(.string(socket), field: "socket")
            if let other = entries.values.first(where: { $0.parameters.socket == socket }) {
                let hint = "choose another path with --socket"
                throw ControlError(.exists, "export \(other.parameters.name) has the socket \(socket)", field: "socket", hint: hint)
            }
            parameters.socket = socket
        }
        entries[name] = Entry(parameters: parameters, origin: origin, state: .starting, isBusy: true)
        return parameters
    }

    private func open(_ parameters: ExportParameters, descriptor: FileDescriptor?) async throws(ControlError) -> Export {
        let name = parameters.name
        var configuration = try ExportConfiguration(parameters, descriptor: descriptor)
        configuration.drainTimeoutNanoseconds = drainTimeoutNanoseconds
        do throws(ExportError) {
            let export = try await Export.open(configuration, pollers: pollers)
            let log = makeLog("export \(name)")
            export.onEvent = { [weak self] event in
                event.write(to: log)
                self?.onEvent?(name, event)
            }
            do throws(ExportError) {
                try export.start()
            } catch {
                try? await export.shutdown(force: true)
                throw error
            }
            return export
        } catch {
            throw ControlError(error)
        }
    }

    private func save(_ parameters: ExportParameters, orElseRemove export: Export) async throws(ControlError) {
        do throws(ControlError) {
            try await save(parameters)
        } catch {
            try? await export.shutdown(force: true)
            throw error
        }
    }

    private func save(_ parameters: ExportParameters) async throws(ControlError) {
        guard let stateDirectory else { return }
        try await Worker.run { () throws(ControlError) in try stateDirectory.save(parameters) }
    }

    private nonisolated static let stopping = ControlError(.stopping, "the daemon is stopping", hint: "try again when it has started anew")

    // MARK: Changing

    /// Marks an export as being worked on and returns it.
    private func begin(_ name: String) throws(ControlError) -> Entry {
        guard !isStopping else { throw Self.stopping }
        let entry = try entry(name)
        guard !entry.isBusy else {
            throw ControlError(.busy, "another call works on export '\(name)'", field: "name", hint: "try again when it is done")
        }
        entries[name]?.isBusy = true
        return entry
    }

    private static func notServing(_ name: String) -> ControlError {
        let hint = "see why with 'vhublkctl export show \(name)', then delete it or start the daemon again"
        return ControlError(.unsupported, "export '\(name)' does not serve", field: "name", hint: hint)
    }

    /// Tries an export's held requests now.
    func retryHeld(_ name: String) throws(ControlError) -> ExportInfo {
        guard let export = try entry(name).export else { throw Self.notServing(name) }
        export.retryHeld()
        return try show(name)
    }

    /// Gives an export another size.
    func resize(_ name: String, to size: ByteSize) async throws(ControlError) -> ExportInfo {
        let entry = try begin(name)
        defer { entries[name]?.isBusy = false }
        guard let export = entry.export else { throw Self.notServing(name) }
        do throws(ExportError) {
            try await export.resize(to: size.bytes)
        } catch {
            guard error.kind == .invalid else { throw ControlError(error) }
            throw ControlError(
                .invalidParameters, error.message, field: "size", hint: "give a multiple of \(export.status.blockSize) bytes")
        }
        // A file and a device keep their size themselves, the size of a null backing is part of the definition.
        if entry.parameters.backing.hasPrefix("null:") {
            var parameters = entry.parameters
            parameters.backing = "null:\(size.exactText)"
            entries[name]?.parameters = parameters
            if entry.origin == .control { try await save(parameters) }
        }
        return try show(name)
    }

    /// Removes an export; true when the configuration file brings it back. Requests in flight are waited for, bounded: an export whose disk
    /// does not answer is removed when it does.
    func delete(_ name: String, force: Bool) async throws(ControlError) -> Bool {
        let entry = try begin(name)
        let removal = Task { @ControlActor () -> Result<Void, ControlError> in
            do throws(ControlError) {
                return .success(try await remove(entry, force: force))
            } catch {
                return .failure(error)
            }
        }
        guard let result = await ControlActor.value(of: removal, within: drainTimeoutNanoseconds + Self.endNanosecondsMax) else {
            let message = "requests of export '\(name)' are still in flight"
            throw ControlError(.busy, message, field: "name", hint: "it serves no more and is removed when its disk has answered them")
        }
        try result.get()
        return entry.origin == .configuration
    }

    private func remove(_ entry: Entry, force: Bool) async throws(ControlError) {
        let name = entry.parameters.name
        defer { entries[name]?.isBusy = false }
        entries[name]?.state = .stopping
        do throws(ExportError) {
            try await entry.export?.shutdown(force: force)
        } catch {
            entries[name]?.state = entry.state
            throw ControlError(error)
        }
        entries[name] = nil
        log.info("export \(name) was deleted")
        if entry.origin == .control, let stateDirectory {
            try await Worker.run { () throws(ControlError) in try stateDirectory.remove(name) }
        }
    }

    /// Takes no more calls and ends every export; their definitions stay.
    func stop() async {
        isStopping = true
        let tasks = serving.map { export in Task { @ControlActor in try? await export.shutdown(force: true) } }
        for task in tasks { await task.value }
        entries = [:]
        pollers.shutdown()
    }
}
