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
        /// Tells this entry from a later one of the same name.
        var identity: UInt64
        var parameters: ExportParameters
        var origin: ExportOrigin
        var state: ExportState
        var export: Export?
        /// The socket, as long as there is no export to serve it.
        var listener: ExportListener?
        /// Why it is in state failed.
        var error: ControlError?
        /// Its backing is being opened.
        var isOpening = false
        /// When and how often it is tried again.
        var retry = RetryPlan()
        /// A call works on it.
        var isBusy = false
    }

    let pollers: PollerGroup
    private let stateDirectory: StateDirectory?
    /// What holds for the run.
    let settings: DaemonSettings
    let log: Logger
    let makeLog: (String) -> Logger
    var entries: [String: Entry] = [:]
    private var entryCount: UInt64 = 0
    /// State files that cannot be used: their names are not given away.
    var refusedStates: [String: ControlError] = [:]
    var isStopping = false

    /// Sends what happens to subscribers.
    let events = EventStream()
    /// Told of the events of every export.
    var onEvent: (@ControlActor (String, ExportEvent) -> Void)?

    init(pollers: PollerGroup, stateDirectory: StateDirectory?, settings: DaemonSettings, makeLog: @escaping (String) -> Logger) {
        self.pollers = pollers
        self.stateDirectory = stateDirectory
        self.settings = settings
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
        info.retryNS = entry.retry.remainingNanoseconds
        if let export = entry.export { info.update(from: export.status) }
        return info
    }

    // MARK: Making

    /// Makes an export; `descriptor` is its socket when it was inherited.
    @discardableResult
    func create(
        _ given: ExportParameters, origin: ExportOrigin, descriptor: FileDescriptor? = nil
    ) async throws(ControlError) -> ExportInfo {
        let name = given.name
        guard !isStopping else { throw Self.stopping }
        if entries[name] != nil {
            throw ControlError(
                .exists, "an export named '\(name)' exists", field: "name", hint: "choose another name, or delete that export first")
        }
        if let error = refusedStates[name], origin == .control { throw error }
        guard entries.count < Self.exportCountMax else { throw Self.tooMany }
        let identity = add(given, origin: origin, state: .starting)
        do throws(ControlError) {
            let parameters = descriptor == nil ? try completed(given) : given
            entries[name]?.parameters = parameters
            let listener = descriptor == nil ? try listen(parameters) : nil
            entries[name]?.listener = listener
            try await make(parameters, identity, descriptor: descriptor, listener: listener)
        } catch {
            if entries[name]?.identity == identity { forget(name) }
            throw error
        }
        return try show(name)
    }

    private func make(
        _ parameters: ExportParameters, _ identity: UInt64, descriptor: FileDescriptor?, listener: ExportListener?
    ) async throws(ControlError) {
        let name = parameters.name
        let export = try await open(parameters, descriptor: descriptor)
        var isSaved = false
        do throws(ControlError) {
            // Deleted meanwhile, which an export whose backing takes its time to open can be.
            guard entries[name]?.identity == identity else { throw isStopping ? Self.stopping : Self.deleted(name) }
            if entries[name]?.origin == .control {
                entries[name]?.isBusy = true
                defer { entries[name]?.isBusy = false }
                try await save(parameters)
                isSaved = true
            }
            guard !isStopping else { throw Self.stopping }
            try start(export, on: listener)
        } catch {
            try? await export.shutdown(force: true)
            // A call that is refused leaves nothing behind.
            if isSaved, let stateDirectory { try? await Worker.run { () throws(ControlError) in try stateDirectory.remove(name) } }
            throw error
        }
    }

    /// Lets an opened export serve.
    func start(_ export: Export, on listener: ExportListener?) throws(ControlError) {
        let name = export.configuration.name
        do throws(ExportError) {
            if let listener { try export.start(on: listener) } else { try export.start() }
        } catch {
            throw ControlError(error)
        }
        entries[name]?.listener = nil
        entries[name]?.export = export
        entries[name]?.state = .ready
        entries[name]?.error = nil
        entries[name]?.retry = RetryPlan()
        events.publish(.ready, export: name, size: export.status.sizeBytes)
    }

    /// Enters a name; the answer tells this entry from later ones.
    func add(_ parameters: ExportParameters, origin: ExportOrigin, state: ExportState) -> UInt64 {
        entryCount += 1
        entries[parameters.name] = Entry(identity: entryCount, parameters: parameters, origin: origin, state: state)
        return entryCount
    }

    /// Removes an entry, its socket included.
    private func forget(_ name: String) {
        entries[name]?.listener?.close()
        entries[name]?.retry.cancel()
        entries[name] = nil
    }

    /// `given` with its socket's path, which no other export may have.
    func completed(_ given: ExportParameters) throws(ControlError) -> ExportParameters {
        var parameters = given
        let socket = given.socket ?? "\(settings.socketFolder)/\(given.name).sock"
        try Schema.string(.socketPath).check(.string(socket), field: "socket")
        if let other = entries.values.first(where: { $0.parameters.socket == socket && $0.parameters.name != given.name }) {
            let hint = "choose another path with --socket"
            throw ControlError(.exists, "export \(other.parameters.name) has the socket \(socket)", field: "socket", hint: hint)
        }
        parameters.socket = socket
        return parameters
    }

    /// Makes the socket of an export, whose path is known.
    func listen(_ parameters: ExportParameters) throws(ControlError) -> ExportListener {
        let configuration = try ExportConfiguration(parameters, descriptor: nil, settings)
        try settings.folders.check(socket: parameters.socket ?? "")
        do throws(ExportError) {
            return try ExportListener(
                path: parameters.socket ?? "", mode: configuration.socketMode, group: configuration.socketGroup)
        } catch {
            throw ControlError(error)
        }
    }

    /// Opens the backing; nobody is served yet.
    func open(_ parameters: ExportParameters, descriptor: FileDescriptor?) async throws(ControlError) -> Export {
        let name = parameters.name
        let configuration = try ExportConfiguration(parameters, descriptor: descriptor, settings)
        let folders = settings.folders
        try await Worker.run { () throws(ControlError) in try folders.check(backing: parameters.backing) }
        do throws(ExportError) {
            let export = try await Export.open(configuration, pollers: pollers)
            let log = makeLog("export \(name)")
            export.onEvent = { [weak self] event in
                event.write(to: log)
                self?.events.publish(event.info(of: name))
                self?.onEvent?(name, event)
            }
            return export
        } catch {
            throw ControlError(error)
        }
    }

    private func save(_ parameters: ExportParameters) async throws(ControlError) {
        guard let stateDirectory else { return }
        try await Worker.run { () throws(ControlError) in try stateDirectory.save(parameters) }
    }

    private nonisolated static let stopping = ControlError(.stopping, "the daemon is stopping", hint: "try again when it has started anew")
    nonisolated static let tooMany = ControlError(
        .limit, "there are \(exportCountMax) exports already", hint: "delete one, or run another daemon")

    private nonisolated static func deleted(_ name: String) -> ControlError {
        ControlError(.busy, "export '\(name)' was deleted while it was being made", field: "name", hint: "make it again if it is wanted")
    }

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
        let hint = "see why with 'vhublkctl export show \(name)'; it is tried again by itself, and can be deleted"
        return ControlError(.unsupported, "export '\(name)' does not serve", field: "name", hint: hint)
    }

    /// Tries an export's held requests now.
    func retryHeld(_ name: String) throws(ControlError) -> ExportInfo {
        guard let export = try entry(name).export else { throw Self.notServing(name) }
        export.retryHeld()
        return try show(name)
    }

    /// Moves a queue of an export to another CPU.
    func moveQueue(_ queue: Int, of name: String, to cpu: Int) async throws(ControlError) {
        guard let export = try entry(name).export else { throw Self.notServing(name) }
        do throws(ExportError) { try await export.move(queue: queue, to: cpu) } catch { throw ControlError(error) }
    }

    /// Gives an export another size.
    func resize(_ name: String, to size: ByteSize, force: Bool) async throws(ControlError) -> ExportInfo {
        let entry = try begin(name)
        defer { entries[name]?.isBusy = false }
        guard let export = entry.export else { throw Self.notServing(name) }
        do throws(ExportError) {
            try await export.resize(to: size.bytes, force: force)
        } catch {
            guard error.kind == .invalid else { throw ControlError(error) }
            let hint = error.hint.isEmpty ? "give a multiple of \(export.status.blockSize) bytes" : error.hint
            throw ControlError(.invalidParameters, error.message, field: "size", hint: hint)
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
        guard let result = await ControlActor.value(of: removal, within: settings.stopTimeoutNanoseconds) else {
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
        forget(name)
        log.info("export \(name) was deleted")
        events.publish(.deleted, export: name)
        if entry.origin == .control, let stateDirectory {
            try await Worker.run { () throws(ControlError) in try stateDirectory.remove(name) }
        }
    }

    /// Takes no more calls and closes every socket; their definitions stay. `finishStop` does what takes time.
    func beginStop() {
        isStopping = true
        for name in entries.keys {
            entries[name]?.listener?.close()
            entries[name]?.retry.cancel()
            entries[name]?.export?.stopListening()
        }
    }

    /// Ends every export, which is bounded by the drain time-out. Pollers end with the process: one whose requests the kernel still has could
    /// not be waited for.
    func finishStop() async {
        let tasks = serving.map { export in Task { @ControlActor in try? await export.shutdown(force: true) } }
        for task in tasks { await task.value }
        entries = [:]
    }
}
