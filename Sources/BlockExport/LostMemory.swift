internal import LinuxSystem

/// Tells connections when memory that their front-end shares was lost (``MemoryGuard``), on the control thread.
@ControlActor
enum LostMemory {
    private static var registration: Registration?
    private static var handlers: [UInt64: @ControlActor () -> Void] = [:]

    /// Calls `handler` whenever a mapping of `owner` is lost, until ``forget(owner:)``.
    static func watch(owner: UInt64, handler: @escaping @ControlActor () -> Void) throws(SystemError) {
        if registration == nil {
            let event = try MemoryGuard.lossEvent()
            registration = try EventLoop.control.register(event.descriptor, interest: .read) { _ in
                // Drained first: what is lost after the look signals again.
                event.drain()
                for owner in Set(MemoryGuard.takeLost()) { handlers[owner]?() }
            }
        }
        handlers[owner] = handler
    }

    /// Nothing is told of this owner any more.
    static func forget(owner: UInt64) { handlers[owner] = nil }
}
