internal import LinuxSystem
internal import VhostUser

/// One front-end on the event loop: watches the sockets of its ``SessionConnection`` and ends it. Control thread only.
@ControlActor
final class ExportConnection {
    /// The peer's credentials, where the kernel tells them.
    let peer: UnixSocket.Peer?
    private var link: SessionConnection!
    private var mainWatch: Registration?
    private var backendWatch: Registration?
    /// Of rings whose calls go in-band.
    private var callWatches: [Int: Registration] = [:]
    private unowned let export: Export
    private let host = LinuxSessionHost()
    private var hasEnded = false
    private var endReason: String?
    private var endWaiters: [CheckedContinuation<Void, Never>] = []

    /// Serves a front-end whose descriptors `closing` closes.
    init(
        socket: FileDescriptor, peer: UnixSocket.Peer?, export: Export, device: ExportDevice, closing: ClosingQueue
    ) throws(SystemError) {
        self.peer = peer
        self.export = export
        link = SessionConnection(socket, device: device, host: host, closing: closing) { [weak self] event in
            ControlActor.assumeIsolated { self?.handle(event) }
        }
        closing.whenThereIsRoom { [weak self] in ControlActor.post { self?.link.closingHasRoom() } }
        mainWatch = try EventLoop.control.register(socket, interest: .read) { [weak self] readiness in
            self?.link.mainSocketIsReady(canRead: readiness.canRead, canWrite: readiness.canWrite, isHungUp: readiness.isClosed)
        }
        do throws(SystemError) {
            try LostMemory.watch(owner: host.memoryOwner) { [weak export] in export?.memoryWasLost() }
        } catch {
            mainWatch?.cancel()
            throw error
        }
    }

    /// Sends the front-end away without waiting for its rings.
    func sendAway(reason: String) { end(reason: reason) }

    /// What the session has negotiated.
    var session: Session { link.session }

    /// Whether the front-end hung up, also when the event loop has not come to it yet, or is being sent away.
    var isEnding: Bool {
        if hasEnded { return true }
        guard let poller = try? Epoll(), (try? poller.add(link.socket.rawValue, .peerClosed, token: 0)) != nil else { return false }
        // unsafe: one event on the stack, for this call.
        return unsafe withUnsafeTemporaryAllocation(of: Epoll.Ready.self, capacity: 1) { ready in
            unsafe poller.wait(into: ready, timeoutNanoseconds: 0) > 0
        }
    }

    /// Sends the front-end away; returns when none of its rings run and its memory is let go.
    func close(reason: String) async {
        await withCheckedContinuation { continuation in
            endWaiters.append(continuation)
            end(reason: reason)
        }
    }

    private func handle(_ event: SessionConnection.Event) {
        guard !hasEnded else { return }
        do throws(SystemError) {
            switch event {
            case .interest(let read, let write): try mainWatch?.setInterest(Self.interest(read: read, write: write))
            case .backendSocket(let socket): try watchBackend(socket)
            case .backendInterest(let write): try backendWatch?.setInterest(Self.interest(read: true, write: write))
            case .callDescriptor(let ring, let descriptor): try watchCall(ring, descriptor)
            case .notice(let notice): export.tell(.notice(notice.description))
            // A peer that closed between two messages has simply gone.
            case .closed(.closed(insideMessage: false)): end(reason: nil)
            case .closed(let error): end(reason: error.description)
            }
        } catch {
            end(reason: error.description)
        }
    }

    private static func interest(read: Bool, write: Bool) -> EventLoop.Interest {
        var interest: EventLoop.Interest = []
        if read { interest.insert(.read) }
        if write { interest.insert(.write) }
        return interest
    }

    private func watchBackend(_ socket: FileDescriptor?) throws(SystemError) {
        backendWatch?.cancel()
        backendWatch = nil
        guard let socket else { return }
        backendWatch = try EventLoop.control.register(socket, interest: .read) { [weak self] readiness in
            self?.link.backendSocketIsReady(canRead: readiness.canRead, canWrite: readiness.canWrite)
        }
    }

    private func watchCall(_ ring: Int, _ descriptor: FileDescriptor) throws(SystemError) {
        callWatches[ring]?.cancel()
        callWatches[ring] = try EventLoop.control.register(descriptor, interest: .read) { [weak self] _ in
            self?.link.callDescriptorIsReady(ring)
        }
    }

    private func end(reason: String?) {
        guard !hasEnded else { return }
        hasEnded = true
        endReason = reason
        mainWatch?.cancel()
        backendWatch?.cancel()
        for watch in callWatches.values { watch.cancel() }
        UnixSocket.shutdown(link.socket)
        LostMemory.forget(owner: host.memoryOwner)
        // The closure keeps this object until the rings have stopped; the export lets go of it then.
        link.disconnect { [self] in
            ControlActor.assumeIsolated {
                export.connectionEnded(reason: endReason)
                for waiter in endWaiters { waiter.resume() }
                endWaiters = []
            }
        }
    }
}
