/// A call that the event loop makes once, later.
@ControlActor
public final class TimerRegistration {
    nonisolated let deadline: UInt64
    private var handler: (@ControlActor () -> Void)?

    init(deadline: UInt64, handler: @escaping @ControlActor () -> Void) {
        self.deadline = deadline
        self.handler = handler
    }

    /// The handler is not called any more. May be called again and after the call was made.
    public func cancel() { handler = nil }

    func fire() {
        let handler = handler
        self.handler = nil
        handler?()
    }
}
