import BlockExport
import ControlAPI
public import LinuxSystem
import Logging

/// A run of the daemon, from the command line to the exit status.
@ControlActor
public final class DaemonProcess {
    private let options: DaemonOptions
    private let sink: DaemonLog.Sink
    private let log: Logger
    private let notifier = ServiceNotifier()
    private let settings: DaemonSettings
    private let begin: DaemonStart
    private var registry: ExportRegistry?
    private var server: ControlServer?
    private var signals: Registration?
    private var isStopping = false
    private var end: CheckedContinuation<Int32, Never>?

    /// Runs until a signal stops the daemon; 0 after a clean stop, 1 when it cannot do its work. Call it on the main thread, before any
    /// other
    /// thread is there.
    ///
    /// The main thread waits here and runs no event loop of its own: the one of an asynchronous `main` lets all signals through to the
    /// thread it
    /// waits on, and the first SIGTERM would end the process.
    public nonisolated static func run(_ options: DaemonOptions) -> Int32 {
        let sink = DaemonLog.Sink.standardError()
        sink.setLevel(options.logLevel ?? .info)
        // A reload that is asked for too early waits; SIGTERM ends a start that hangs on a dead disk.
        Signals.block([Signals.hangUp, Signals.brokenPipe])
        let begin: DaemonStart
        do {
            begin = try DaemonStart(options)
        } catch {
            Logger(label: "vhublkd") { DaemonLog(label: $0, sink: sink) }.error("\(error)")
            return 1
        }
        sink.setLevel(options.logLevel ?? begin.settings.configuration.logLevel ?? .info)
        // Signals are taken by the control loop alone.
        Signals.block([Signals.terminate, Signals.interrupt])
        let status = Locked<Int32>(1)
        let hasEnded = Semaphore()
        Task { @ControlActor in
            let daemon = DaemonProcess(options, begin, sink: sink)
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

    private init(_ options: DaemonOptions, _ begin: DaemonStart, sink: DaemonLog.Sink) {
        self.options = options
        self.begin = begin
        self.settings = begin.settings
        self.sink = sink
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
            signals = try EventLoop.control.register(signals: [Signals.terminate, Signals.interrupt, Signals.hangUp]) { [weak self] in
                self?.take($0)
            }
            try await serve()
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

    private func serve() async throws {
        let pollers: PollerGroup
        do throws(ExportError) {
            pollers = try PollerGroup(cpus: settings.configuration.pollerCPUs?.cpus, topology: Topology())
        } catch {
            throw ControlError(error)
        }
        let registry = ExportRegistry(pollers: pollers, stateDirectory: begin.stateDirectory, settings: settings, makeLog: makeLog)
        self.registry = registry
        // Exports come before the control socket and before anything that could fail or take its time: virtual machines wait for them.
        if let single = settings.single {
            try await serveSingle(single.parameters, single.descriptor, registry)
        } else {
            let defaults = settings.configuration.defaults
            registry.restore(begin.content, configured: settings.configuration.exports.map { defaults.completing($0) })
        }
        guard !isStopping else { return }
        try listen(registry, pollers)
        let count = registry.list.count
        log.info("vhublkd \(Product.version) serves \(count) export\(count == 1 ? "" : "s")")
        for folder in begin.missingFolders {
            log.warning("\(folder) is not there: what is made there later cannot be used before the daemon starts again")
        }
        for protection in begin.sandbox.active { log.debug("given up: \(protection)") }
        for lack in begin.sandbox.missing where settings.sandbox != .off { log.warning("not given up: \(lack)") }
        notifier.ready(status: "\(count) exports")
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

    private func listen(_ registry: ExportRegistry, _ pollers: PollerGroup) throws(ControlError) {
        guard let path = settings.controlPath else { return }
        let identity = DaemonVersion.Result(
            version: Product.version, pid: Int(ProcessSelf.identifier), uptimeNS: 0, mode: settings.single == nil ? "exports" : "single",
            stateDirectory: settings.statePath, kernel: ProcessSelf.kernelRelease, sandbox: settings.sandbox.rawValue,
            hardening: begin.sandbox.active, unprotected: begin.sandbox.missing,
            postcopyRefusal: AwaitedMemory.unavailability)
        let methods = ControlMethods(
            registry: registry, pollers: pollers, identity: identity, startTime: begin.time, defaults: settings.configuration.defaults)
        server = try ControlServer(
            path: path, access: begin.access, descriptorLimit: begin.sandbox.descriptorLimit, events: registry.events,
            log: makeLog("control")
        ) {
            await methods.answer($0)
        }
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
        guard let registry, let path = settings.configurationPath, !isStopping else {
            log.info("SIGHUP: there is no configuration file to read again")
            registry?.reload(configured: [])
            return
        }
        notifier.reloading()
        do {
            let configuration = try await Worker.run { () throws(ConfigurationError) in try ConfigurationFile.read(path) }
            sink.setLevel(options.logLevel ?? configuration.logLevel ?? .info)
            registry.reload(configured: configuration.exports.map { configuration.defaults.completing($0) })
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
        registry?.beginStop()
        // Rings give up by themselves at the end of the drain time-out; this is for what does not depend on rings.
        let limit = settings.stopTimeoutNanoseconds
        EventLoop.control.after(nanoseconds: limit) { [weak self] in
            self?.log.warning("not everything has ended within \(limit / 1_000_000_000) s")
            self?.finish(0)
        }
        Task { @ControlActor in
            await registry?.finishStop()
            log.info("stopped")
            finish(0)
        }
    }
}
