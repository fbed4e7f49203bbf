import LinuxSystem

/// A thread that does one backing's slow operations, those that no engine can do asynchronously, one after the other. It starts with the
/// first of them and ends when there have been none for a while; a backing that is stuck holds up no other.
final class SlowWorker: Sendable {
    /// How long the thread waits for more work before it ends.
    private static let idleNanosecondsMax: UInt64 = 5_000_000_000

    private struct State: Sendable {
        var waiting = SendableQueue()
        var isRunning = false
        var isEnding = false
    }

    /// Operations change hands only inside the mutex: they are the worker's from `add` to the mailbox.
    private struct SendableQueue: @unchecked Sendable {
        var operations = OperationQueue()
    }

    private let state = Locked(State())
    private let available = Semaphore()
    private let target: SlowTarget

    init(_ target: SlowTarget) {
        self.target = target
    }

    /// Takes an operation from a poller; it comes back through its channel's mailbox.
    func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        let address = UInt(bitPattern: operation)
        let mustStart = state.withLock { state in
            unsafe state.waiting.operations.append(UnsafeMutablePointer(bitPattern: address).unsafelyUnwrapped)
            defer { state.isRunning = true }
            return !state.isRunning
        }
        available.signal()
        if mustStart { start() }
    }

    /// Lets the thread end at once rather than after a while, since it holds the backing open; nothing is added after this.
    func end() {
        state.withLock { $0.isEnding = true }
        available.signal()
    }

    /// Takes back what has not been begun, of one completion list.
    func takeWaiting(of completions: UnsafeMutablePointer<IOCompletionList>) -> OperationQueue {
        let address = UInt(bitPattern: completions)
        return state.withLock { state in
            let list = unsafe UnsafeMutablePointer<IOCompletionList>(bitPattern: address).unsafelyUnwrapped
            return unsafe SendableQueue(operations: state.waiting.operations.takeAll(of: list))
        }.operations
    }

    private func start() {
        do {
            _ = try PinnedThread(name: "slow-io", role: .poller) { [self] in run() }
        } catch {
            // No thread can be had: fail what waits rather than keep the guest waiting.
            failAll(Int64(-error.errno))
        }
    }

    private func run() {
        let zeroes = ZeroBuffer()
        while true {
            let isWoken = available.wait(nanoseconds: Self.idleNanosecondsMax)
            if isWoken, let operation = unsafe next() {
                unsafe operation.pointee.result = SlowOperation(target: target, zeroes: zeroes).perform(operation)
                unsafe Self.giveBack(operation)
            } else if endIfIdle(isWoken: isWoken) {
                return
            }
        }
    }

    private func next() -> UnsafeMutablePointer<IOOperation>? {
        let address = state.withLock { state in UInt(bitPattern: unsafe state.waiting.operations.pop()) }
        return unsafe UnsafeMutablePointer(bitPattern: address)
    }

    /// Whether the thread is to end: it has waited long enough, or is told to.
    private func endIfIdle(isWoken: Bool) -> Bool {
        state.withLock { state in
            guard state.waiting.operations.isEmpty, !isWoken || state.isEnding else { return false }
            state.isRunning = false
            return true
        }
    }

    private func failAll(_ result: Int64) {
        while let operation = unsafe next() {
            unsafe operation.pointee.result = result
            unsafe Self.giveBack(operation)
        }
        state.withLock { $0.isRunning = false }
    }

    private static func giveBack(_ operation: UnsafeMutablePointer<IOOperation>) {
        // The channel outlives its operations, but not longer than that: the mailbox is retained here until the push is over.
        let mailbox = unsafe operation.pointee.state.pointee.mailbox.takeUnretainedValue()
        unsafe mailbox.push(operation)
    }
}
