/// The control thread: sockets, signals, exports and sessions live here, and nothing here waits for a disk or a peer.
@globalActor
public actor ControlActor {
    /// The actor itself.
    public static let shared = ControlActor()

    private init() {}

    /// Jobs of this actor run on the control thread's event loop.
    public nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe EventLoop.control.asUnownedSerialExecutor() }

    /// Runs `job` on the control thread, soon and in order; callable from any thread, a poller's included (though not per request: it
    /// allocates).
    public static func post(_ job: @escaping @Sendable @ControlActor () -> Void) {
        Task { @ControlActor in job() }
    }

    /// Suspends the caller for at least `nanoseconds`.
    @ControlActor
    public static func sleep(nanoseconds: UInt64) async {
        await withCheckedContinuation { continuation in
            EventLoop.control.after(nanoseconds: nanoseconds) { continuation.resume() }
        }
    }

    /// Runs `body` at once; the process stops when the calling thread is not the control thread.
    public static func assumeIsolated<Result: Sendable>(_ body: @ControlActor () -> Result) -> Result {
        EventLoop.control.checkIsolated()
        // What the standard library does for MainActor: the two function types differ in isolation only, which the check above has
        // established, and the cast function does not outlive this call.
        return withoutActuallyEscaping(body) { isolated in
            unsafe unsafeBitCast(isolated, to: (() -> Result).self)()
        }
    }
}
