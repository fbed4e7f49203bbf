/// A descriptor that the event loop watches. The loop keeps it until `cancel`; letting go of this object alone does not end the watch.
@ControlActor
public final class Registration {
    /// The watched descriptor.
    public let descriptor: FileDescriptor
    private let loop: EventLoop
    nonisolated let token: UInt64
    private(set) var handler: (@ControlActor (Readiness) -> Void)?

    init(loop: EventLoop, descriptor: FileDescriptor, token: UInt64, handler: @escaping @ControlActor (Readiness) -> Void) {
        self.loop = loop
        self.descriptor = descriptor
        self.token = token
        self.handler = handler
    }

    /// Changes what is waited for; an empty set waits for errors and the peer's hanging up only.
    public func setInterest(_ interest: EventLoop.Interest) throws(SystemError) {
        guard handler != nil else { return }
        try loop.update(self, interest: interest)
    }

    /// Ends the watch: the handler is not called again, not even for what was ready already. May be called from the handler, and again.
    public func cancel() {
        guard handler != nil else { return }
        handler = nil
        loop.remove(self)
    }
}
