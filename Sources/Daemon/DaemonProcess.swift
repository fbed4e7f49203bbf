import BlockExport
import ControlAPI
public import LinuxSystem
import Logging
import Synchronization

/// A run of the daemon, from the command line to the exit status.
@ControlActor
public final class DaemonProcess {
    private let options: DaemonOptions
    private let sink: DaemonLog.Sink
    private let log: Logger
    private let notifier = ServiceNotifier()
    private let startTime = MonotonicClock.now()
    private var settings: DaemonSettings?
    private var stateDirectory: StateDirectory?
    private var registry: ExportRegistry?
    private var server: ControlServer?
    private var signals: Registration?
    private var isStopping = false
    /// How many descriptors the process may open; what every Linux process may, until it is known better.
    private var descriptorLimit: UInt64 = 1024
    private var end: CheckedContinuation<Int32, Never>?

    /// Runs until a signal stops the daemon; 0 after a clean stop, 1 when it cannot do its work. Call it on the main thread, before any
    /// other
    /// thread is there.
    ///
    /// The main thread waits here and runs no event loop of its own: the one of an asynchronous `main` lets all signals through to the
    /// thread it
    /// waits on, and the first SIGTERM would end the process.
    public nonisolated static func run(_ options: DaemonOptions) -> Int32 {
        // Signals are taken by the control loop alone.
        Signals.block([Signals.terminate, Signals.interrupt, Signals.hangUp, Signals.brokenPipe])
        let status = Mutex<Int32>(1)
        let hasEnded = Semaphore()
        Task { @ControlActor in
            let daemon = DaemonProcess(options, sink: .standardError())
            let result = await daemon.run()
            status.withLock { $0 = result }
            hasEnded.signal()
        }
        hasEnded.wait()
        return status.withLock { $0 }
    }

    private func run() async -> Int32 {
        await withCheckedContinuation { end in
            self.end = end
            Task { @ControlActor in await start() }
        }
    }

    init(_ options: DaemonOptions, sink: DaemonLog.Sink) {
        self.options = options
        self.sink = sink
        sink.setLevel(options.logLevel ?? .info)
        log = Logger(label: "vhublkd") { DaemonLog(label: $0, sink: sink) }
    }

    private func makeLog(_ label: String) -> Logger { Logger(label: label) { [sink] in DaemonLog(label: $0, sink: sink) } }

    private func finish(_ status: Int32) {
        end?.resume(returning: status)
        end = nil
    }

    // MARK: Start

    private func start() async {
        do {
            // First, so that a start that hangs on a dead disk can be stopped.
            signals = try EventLoop.control.register(signals: [Signals.terminate, Signals.interrupt, Signals.hangUp]) { [weak self] in
                self?.take($0)
            }
            protect()
            let options = options
            let settings = try await Worker.run { () throws(ConfigurationError) in try DaemonSettings(options) }
            self.settings = settings
            sink.setLevel(options.logLevel ?? settings.configuration.logLevel ?? .info)
            try await serve(settings)
        } catch let error as ControlError {
            fail(error.description)
        } catch {
            fail("\(error)")
        }
    }

    private func fail(_ reason: String) {
        guard !isStopping else { return }
        log.error("\(reason)")
        finish(1)
    }

    /// Gives up what a process that serves guests has no use for.
    private func protect() {
        do {
            try ProcessSelf.forbidDumps()
        } catch {
            log.warning("\(error)")
        }
        do {
            descriptorLimit = try ProcessSelf.raiseDescriptorLimit()
        } catch {
            log.warning("\(error)")
        }
    }

    private func serve(_ settings: DaemonSettings) async throws {
        let pollers: PollerGroup
        do throws(ExportError) {
            pollers = try PollerGroup(cpus: settings.configuration.pollerCPUs?.cpus, topology: Topology())
        } catch {
            throw ControlError(error)
        }
        var content = StateDirectory.Content()
        if let path = settings.statePath {
            let directory = try await Worker.run { () throws(ControlError) in try StateDirectory(path: path) }
            stateDirectory = directory
            content = try await Worker.run { () throws(ControlError) in try directory.load() }
        }
        makeFolder(settings.socketFolder)
        let registry = ExportRegistry(
            pollers: pollers, stateDirectory: stateDirectory, socketFolder: settings.socketFolder,
            drainTimeoutNanoseconds: settings.drainTimeoutNanoseconds, makeLog: makeLog)
        self.registry = registry
        // Exports come before the control socket and before anything that could fail or take its time: virtual machines wait for them.
        if let single = settings.single {
            try await serveSingle(single.parameters, single.descriptor, registry)
        } else {
            let defaults = settings.configuration.defaults
            await registry.restore(content, configured: settings.configuration.exports.map { defaults.completing($0) })
        }
        guard !isStopping else { return }
        try await listen(settings, registry, pollers)
        let count = registry.list.count
        log.info("vhublkd \(Product.version) serves \(count) export\(count == 1 ? "" : "s")")
        notifier.ready(status: "\(count) exports")
    }

    private func makeFolder(_ path: String) {
        // A missing folder is the usual state after a boot, /run being empty; what cannot be made is told by who needs it.
        try? DurableFile.createFolder(path, mode: 0o755)
    }

    private func serveSingle(_ parameters: ExportParameters, _ descriptor: Int32?, _ registry: ExportRegistry) async throws(ControlError) {
        let inherited = try descriptor.map { number throws(ControlError) in try Self.inherit(number) }
        if let inherited, (try? UnixSocket.isListening(inherited)) == false {
            // One connected front-end and no way for another to come: when it leaves the work is done.
            registry.onEvent = { [weak self] _, event in
                if case .disconnected = event { self?.stop(reason: "the front-end left") }
            }
        }
        try await registry.create(parameters, origin: .commandLine, descriptor: inherited)
    }

    private static func inherit(_ number: Int32) throws(ControlError) -> FileDescriptor {
        let hint = "pass an open Unix stream socket, listening or connected, and its number"
        guard number > 2, ProcessSelf.isOpen(number) else {
            throw ControlError(
                .invalidParameters, "descriptor \(number) is not one that was passed to this process", field: "fd", hint: hint)
        }
        return FileDescriptor(owning: number)
    }

    private func listen(_ settings: DaemonSettings, _ registry: ExportRegistry, _ pollers: PollerGroup) async throws(ControlError) {
        guard let path = settings.controlPath else { return }
        let access = await Worker.run { settings.access }
        let identity = DaemonVersion.Result(
            version: Product.version, pid: Int(ProcessSelf.identifier), uptimeNS: 0, mode: settings.single == nil ? "exports" : "single",
            stateDirectory: settings.statePath, kernel: ProcessSelf.kernelRelease, hardening: Self.hardening)
        let methods = ControlMethods(
            registry: registry, pollers: pollers, identity: identity, startTime: startTime, defaults: settings.configuration.defaults)
        server = try ControlServer(path: path, access: access, descriptorLimit: descriptorLimit, log: makeLog("control")) {
            await methods.answer($0)
        }
    }

    private static var hardening: [String] {
        var list: [String] = []
        if ProcessSelf.forbidsDumps { list += ["no core dumps", "no tracing"] }
        if ProcessSelf.user != 0 { list.append("unprivileged user \(ProcessSelf.user)") }
        return list
    }

    // MARK: Signals

    private func take(_ signal: Int32) {
        if signal == Signals.hangUp {
            Task { @ControlActor in await reload() }
        } else if isStopping {
            log.warning("stopped at once by a second signal")
            finish(1)
        } else {
            stop(reason: signal == Signals.terminate ? "SIGTERM" : "SIGINT")
        }
    }

    /// Reads the configuration file again: the log level holds from now on, exports that are new are made, failed ones are tried again.
    /// What
    /// runs is never touched; other changes hold from the next start.
    private func reload() async {
        guard let registry, let path = settings?.configurationPath, !isStopping else {
            log.info("SIGHUP: there is no configuration file to read again")
            await registry?.reload(configured: [])
            return
        }
        notifier.reloading()
        do {
            let configuration = try await Worker.run { () throws(ConfigurationError) in try ConfigurationFile.read(path) }
            sink.setLevel(options.logLevel ?? configuration.logLevel ?? .info)
            await registry.reload(configured: configuration.exports.map { configuration.defaults.completing($0) })
            log.info("SIGHUP: \(path) was read again")
        } catch {
            log.error("SIGHUP: nothing was changed: \(error)")
        }
        notifier.ready(status: "\(registry.list.count) exports")
    }

    /// Stops, bounded: what requests in flight have not finished by then stays for the front-ends to submit again.
    private func stop(reason: String) {
        guard !isStopping else { return }
        isStopping = true
        log.info("stopping: \(reason)")
        notifier.stopping()
        server?.stop()
        let limit = settings?.drainTimeoutNanoseconds ?? 0
        EventLoop.control.after(nanoseconds: limit + ExportRegistry.endNanosecondsMax) { [weak self] in
            self?.log.warning("requests in flight were not finished within \(limit / 1_000_000_000) s")
            self?.finish(0)
        }
        Task { @ControlActor in
            await registry?.stop()
            log.info("stopped")
            finish(0)
        }
    }
}
