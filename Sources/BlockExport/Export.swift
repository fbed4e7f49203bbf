internal import BlockIO
public import LinuxSystem
internal import Synchronization
internal import VhostUser
internal import Virtio

/// One disk that front-ends connect to: its backing, its socket, its queues, and at most one front-end at a time.
///
/// Lives on the control thread. An export outlives connections; what a front-end negotiated goes with it.
@ControlActor
public final class Export {
    /// What the export was made from, run-time changes included.
    public private(set) var configuration: ExportConfiguration
    /// Told of what happens, on the control thread.
    public var onEvent: (@ControlActor (ExportEvent) -> Void)?

    let device: ExportDevice
    var disk: Disk { device.disk }
    private var listener: ExportListener?
    /// For the front-end of an inherited connection, which no listener took.
    private let closing = ClosingQueue()
    private(set) var connection: ExportConnection?
    private var sizeWatch: SizeWatch?
    /// A front-end that came while the last one's rings were still being stopped.
    private var next: FileDescriptor?
    private var isShutDown = false
    /// Sessions that ended because memory was taken away.
    private(set) var memoryLosses: UInt64 = 0
    /// For how long no front-end was taken after the last stall, and when that was.
    private var stallPause: (nanoseconds: UInt64, began: UInt64)?

    /// Checks the configuration, opens the backing (on a worker thread: a disk may take its time) and makes the export. Nobody can connect
    /// before ``start()``.
    ///
    /// - Throws: ``ExportError``; nothing remains of the attempt.
    public static func open(_ configuration: ExportConfiguration, pollers: PollerGroup) async throws(ExportError) -> Export {
        let configuration = try configuration.validated()
        try pollers.check(cpus: configuration.cpus)
        let disk = try await Worker.run { () throws(ExportError) in try Disk(opening: configuration) }
        return try Export(configuration, disk: disk, pollers: pollers)
    }

    private init(_ configuration: ExportConfiguration, disk: Disk, pollers: PollerGroup) throws(ExportError) {
        self.configuration = configuration
        do {
            // The device outlives no export, and tells only while one exists.
            weak var told: Export?
            device = try ExportDevice(configuration, disk: disk, pollers: pollers) { told?.tell($0) }
            told = self
        } catch {
            throw ExportError(
                kind: .system, field: nil, message: "cannot set up export \(configuration.name): \(error)", hint: "free some memory")
        }
        device.onStall = { [weak self] queue in self?.frontendStalled(queue) }
        device.onMiss = { [weak self] index, miss in self?.connection?.session.ringDidMiss(index, miss) }
        device.onRingFailure = { [weak self] index, reason in self?.connection?.session.ringDidBreak(index, reason: reason) }
        watchSize()
    }

    /// A block device that grew underneath is noticed by itself.
    private func watchSize() {
        sizeWatch = SizeWatch(disk) { [weak self] in
            do throws(ExportError) {
                try await self?.resize(to: nil)
            } catch {
                self?.tell(.notice("the backing has another size, which cannot be taken over: \(error)"))
            }
        }
    }

    /// Opens the socket, or takes the inherited descriptor: front-ends can connect from now on.
    public func start() throws(ExportError) {
        switch configuration.endpoint {
        case .path(let path):
            try start(on: try ExportListener(path: path, mode: configuration.socketMode, group: configuration.socketGroup))
        case .descriptor(let descriptor):
            try start(inherited: descriptor)
        }
    }

    /// Serves who waits at a socket that listens already, and who comes; the socket is closed with the export from now on, or at once when
    /// this throws.
    public func start(on listener: ExportListener) throws(ExportError) {
        do {
            try serve(listener)
            self.listener = listener
        } catch {
            listener.close()
            throw ExportError(
                kind: .system, field: "socket", message: "cannot watch the socket of export \(configuration.name): \(error)",
                hint: "try again")
        }
    }

    private func serve(_ listener: ExportListener) throws(SystemError) {
        try listener.serve(
            onConnection: { [weak self] in self?.accept($0) }, onTrouble: { [weak self] in self?.tellTrouble($0) })
    }

    private func start(inherited descriptor: FileDescriptor) throws(ExportError) {
        do throws(SystemError) {
            if try UnixSocket.isListening(descriptor) {
                let adopted = try ExportListener(adopting: descriptor)
                try serve(adopted)
                listener = adopted
            } else {
                try descriptor.setNonBlocking(true)
                accept(descriptor)
            }
        } catch {
            throw ExportError(
                kind: .invalid, field: "fd",
                message: "descriptor \(descriptor.rawValue) cannot serve export \(configuration.name): \(error)",
                hint: "pass a listening or a connected unix stream socket")
        }
    }

    // MARK: Front-ends

    private func accept(_ socket: FileDescriptor) {
        let peer = try? UnixSocket.peer(of: socket)
        if let connection, connection.isEnding, !isShutDown {
            // A front-end that reconnects must not be turned away because its old connection's last requests are not done yet.
            next = socket
            return
        }
        guard connection == nil, !isShutDown else {
            UnixSocket.shutdown(socket)
            tell(.refusedSecondFrontend(processID: peer?.process))
            return
        }
        disk.callsAreSuspect.store(false, ordering: .relaxed)
        do {
            let closing = listener?.closing ?? closing
            connection = try ExportConnection(socket: socket, peer: peer, export: self, device: device, closing: closing)
            tell(.connected(processID: peer?.process, userID: peer?.user))
        } catch {
            UnixSocket.shutdown(socket)
            tell(.notice("cannot take the front-end's connection: \(error)"))
        }
    }

    /// The connection is gone and none of its rings run: the next front-end may come.
    func connectionEnded(reason: String?) {
        connection = nil
        disk.reset()
        tell(.disconnected(reason: reason))
        if let next {
            self.next = nil
            accept(next)
        }
    }

    /// The front-end that waits for the last one's end learns at once that it waits for nothing.
    private func turnNextAway() {
        if let next { UnixSocket.shutdown(next) }
        next = nil
    }

    func tell(_ event: ExportEvent) { onEvent?(event) }

    private func tellTrouble(_ error: SystemError) {
        tell(
            .notice(
                "no front-end can be taken now: \(error); it is tried again until it works. Raise the limit of open files if it is too low")
        )
    }

    /// The front-end took memory away that it had shared: its session ends.
    func memoryWasLost() {
        memoryLosses += 1
        connection?.sendAway(
            reason: "memory that the front-end shares was taken away: its file was shortened, its huge pages ran out, or a page is broken")
    }

    /// A front-end whose descriptor held up a poller goes. Were the next one taken at once, it could do the same for ever; so it waits, a
    /// second at first and twice as long each time, which leaves the poller's other queues nearly all of the time.
    private func frontendStalled(_ queue: Int) {
        let now = MonotonicClock.now()
        let isHabit = stallPause.map { now &- $0.began < Self.stallMemoryNanoseconds } ?? false
        let pause = isHabit ? min(2 * (stallPause?.nanoseconds ?? 0), Self.stallPauseMax) : Self.stallPauseMin
        stallPause = (pause, now)
        listener?.pause(nanoseconds: pause)
        turnNextAway()
        let what = "a call or err descriptor of queue \(queue) blocks and its counter is full, which held up the poller"
        tell(.notice("\(what); the next front-end is taken in \(pause / 1_000_000_000) s"))
        connection?.sendAway(reason: what)
    }

    private static let stallPauseMin: UInt64 = 1_000_000_000
    private static let stallPauseMax: UInt64 = 64_000_000_000
    /// A front-end that behaved for so long is not punished for one before it.
    private static let stallMemoryNanoseconds: UInt64 = 600_000_000_000

    // MARK: Changes

    /// Whether a front-end is connected.
    public var isConnected: Bool { connection != nil }

    /// Takes the socket away: nobody new can connect. ``shutdown(force:)`` is what follows.
    public func stopListening() {
        listener?.close()
        listener = nil
    }

    /// Takes the socket away, sends the front-end away, and waits until none of its requests is in flight.
    ///
    /// - Parameter force: also while a front-end is connected.
    /// - Throws: ``ExportError`` of kind `.busy` without `force` while a front-end is connected; then nothing changed.
    public func shutdown(force: Bool) async throws(ExportError) {
        if connection != nil, !force {
            throw ExportError(
                kind: .busy, field: "name", message: "export \(configuration.name) has a front-end connected",
                hint: "stop the virtual machine, or delete with --force")
        }
        isShutDown = true
        sizeWatch?.end()
        turnNextAway()
        stopListening()
        await connection?.close(reason: "the export was removed")
        // With requests still in the kernel the lock stays as long as they do: they keep the backing open.
        guard !device.hasAbandonedRequests else { return }
        let disk = disk
        await Worker.run { disk.close() }
    }

    /// Tries requests that are held now rather than when their wait is over.
    public func retryHeld() { device.retryHeld() }

    /// Moves a queue to the poller of a CPU without losing a request, at once when it runs, and whenever it starts.
    ///
    /// - Throws: ``ExportError`` of kind `.invalid` when there is no such queue or it must not run there, `.busy` when it cannot move now.
    public func move(queue: Int, to cpu: Int) async throws(ExportError) { try await device.moveByHand(queue: queue, to: cpu) }

    /// Gives the disk another size in bytes (nil: the size that a block device or file has now) and tells the guest. A file that holds data
    /// beyond the new end is cut only with `force`.
    public func resize(to bytes: UInt64?, force: Bool = false) async throws(ExportError) {
        let disk = disk
        let size = try await Worker.run { () throws(ExportError) in try disk.resize(to: bytes, force: force) }
        if case .null = configuration.backing { configuration.backing = .null(size: size) }
        connection?.session.configDidChange()
        tell(.resized(bytes: size))
    }
}
