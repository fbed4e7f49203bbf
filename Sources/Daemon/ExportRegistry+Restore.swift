import BlockExport
import ControlAPI
import LinuxSystem
import Logging

/// What was there comes back: sockets first, and backings as they answer, none waiting for another.
extension ExportRegistry {
    /// Makes the sockets of all exports of the state directory and of the configuration file, and begins to open their backings; returns when
    /// the sockets are there. An export whose backing cannot be opened stays as a failed one and is tried again: the others serve, and
    /// nothing is forgotten.
    func restore(_ content: StateDirectory.Content, configured: [ExportParameters]) {
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
        for parameters in configured { restore(parameters, origin: .configuration) }
        for parameters in content.exports where !configuredNames.contains(parameters.name) { restore(parameters, origin: .control) }
    }

    /// Makes those exports of a configuration that are not there yet, and tries the failed ones again at once.
    func reload(configured: [ExportParameters]) {
        for entry in entries.values where entry.state == .failed && !entry.isBusy {
            entries[entry.parameters.name]?.retry.cancel()
            entries[entry.parameters.name]?.retry = RetryPlan()
            attempt(entry.parameters.name, entry.identity)
        }
        for parameters in configured where entries[parameters.name] == nil { restore(parameters, origin: .configuration) }
    }

    private func restore(_ parameters: ExportParameters, origin: ExportOrigin) {
        guard !isStopping else { return }
        guard entries.count < Self.exportCountMax else {
            log.error("export \(parameters.name) cannot be restored: \(Self.tooMany)")
            return
        }
        attempt(parameters.name, add(parameters, origin: origin, state: .starting))
    }

    /// Makes the socket, unless it is there, and begins to open the backing.
    private func attempt(_ name: String, _ identity: UInt64) {
        guard !isStopping, let entry = entries[name], entry.identity == identity, !entry.isOpening, !entry.isBusy else { return }
        do throws(ControlError) {
            let parameters = try completed(entry.parameters)
            entries[name]?.parameters = parameters
            if entry.listener == nil { entries[name]?.listener = try listen(parameters) }
            entries[name]?.isOpening = true
            Task { @ControlActor in await serve(parameters, identity) }
        } catch {
            fail(name, error)
        }
    }

    private func serve(_ parameters: ExportParameters, _ identity: UInt64) async {
        let name = parameters.name
        let result: Result<Export, ControlError>
        do throws(ControlError) {
            result = .success(try await open(parameters, descriptor: nil))
        } catch {
            result = .failure(error)
        }
        if entries[name]?.identity == identity { entries[name]?.isOpening = false }
        guard !isStopping, let entry = entries[name], entry.identity == identity, !entry.isBusy else {
            // Deleted, or everything ends, while the disk took its time.
            if case .success(let export) = result { try? await export.shutdown(force: true) }
            return
        }
        do throws(ControlError) {
            let export = try result.get()
            do throws(ControlError) {
                try start(export, on: entry.listener)
            } catch {
                entries[name]?.listener = nil
                try? await export.shutdown(force: true)
                throw error
            }
            if entry.state == .failed { log.notice("export \(name) serves at last") }
        } catch {
            fail(name, error)
        }
    }

    /// Keeps an export that cannot be served, sends away who waits at its socket, and plans the next attempt.
    private func fail(_ name: String, _ error: ControlError) {
        guard let entry = entries[name], !isStopping else { return }
        if entry.error != error {
            log.error("export \(name) cannot be restored, and is tried again from time to time: \(error)")
            events.publish(.failed, export: name, reason: error.description)
        }
        entries[name]?.state = .failed
        entries[name]?.error = error
        do {
            let log = makeLog("export \(name)")
            try entry.listener?.turnAway { log.notice("a front-end was turned away: the export's backing is not open") }
        } catch {
            log.warning("front-ends of export \(name) have to wait: \(error)")
        }
        entries[name]?.retry.plan { [weak self] in self?.attempt(name, entry.identity) }
    }
}
