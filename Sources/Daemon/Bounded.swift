import LinuxSystem

extension ControlActor {
    /// The value of `task`, or nil when it is not there after `nanoseconds`; the task goes on then.
    @ControlActor
    static func value<Value: Sendable>(of task: Task<Value, Never>, within nanoseconds: UInt64) async -> Value? {
        await withCheckedContinuation { (continuation: CheckedContinuation<Value?, Never>) in
            let waiting = Waiting(continuation)
            let timer = EventLoop.control.after(nanoseconds: nanoseconds) { waiting.resume(nil) }
            Task { @ControlActor in
                let value = await task.value
                timer.cancel()
                waiting.resume(value)
            }
        }
    }

    /// Resumes once, whoever comes first.
    @ControlActor
    private final class Waiting<Value: Sendable> {
        private var continuation: CheckedContinuation<Value?, Never>?

        init(_ continuation: CheckedContinuation<Value?, Never>) { self.continuation = continuation }

        func resume(_ value: Value?) {
            continuation?.resume(returning: value)
            continuation = nil
        }
    }
}
