import CLinux

/// Closes descriptors that came from a peer, in the order in which they are given, on a thread that has nothing else to do.
///
/// close(2) can wait, for as long as whoever made the file likes: the last reference to a socket with SO_LINGER waits for unsent data, a file
/// of FUSE for its server's answer to the flush, and a Unix socket for what lies in it unread. One queue serves one export, so that nothing of
/// one export's waits for another's: one of its descriptors is closed at a time, and when too many wait nothing more is taken from its
/// front-end.
public final class ClosingQueue: Sendable {
    /// So many descriptors may wait; from then on nothing is to be received that could bring more.
    public static let countMax = 1024

    private struct State {
        var waiting: [Int32] = []
        /// Those that were given and are not closed yet.
        var count = 0
        var isClosing = false
        var wasFull = false
        var onRoom: (@Sendable () -> Void)?
    }

    /// One thread for each queue that has something to close, up to a number that exports hardly reach; the last one stays.
    private static let threads = WorkQueue(name: "closing", threadCountMax: 1024, threadCountKept: 1)

    private let state = Locked(State())

    /// An empty queue.
    public init() {}

    /// Descriptors that are not closed yet.
    public var count: Int { state.withLock { $0.count } }

    /// Whether as many wait as may.
    public var isFull: Bool { count >= Self.countMax }

    /// Has `body` called, on the closing thread, each time that there is room again after the queue was full. Takes an earlier one's place.
    public func whenThereIsRoom(_ body: (@Sendable () -> Void)?) { state.withLock { $0.onRoom = body } }

    /// Closes a descriptor, soon; any thread may call, and does not wait.
    func close(_ raw: Int32) {
        let mustStart = state.withLock { state in
            state.waiting.append(raw)
            state.count += 1
            if state.count >= Self.countMax { state.wasFull = true }
            defer { state.isClosing = true }
            return !state.isClosing
        }
        guard mustStart else { return }
        // Without a thread there is only this one.
        if !Self.threads.add({ self.run() }) { run() }
    }

    private func run() {
        while true {
            let batch = state.withLock { state in
                defer { state.waiting = [] }
                if state.waiting.isEmpty { state.isClosing = false }
                return state.waiting
            }
            if batch.isEmpty { return }
            for raw in batch {
                _ = clinux_close(raw)
                let onRoom = state.withLock { state -> (@Sendable () -> Void)? in
                    state.count -= 1
                    // Half of it: else a flood would be let in descriptor by descriptor.
                    guard state.wasFull, state.count <= Self.countMax / 2 else { return nil }
                    state.wasFull = false
                    return state.onRoom
                }
                onRoom?()
            }
        }
    }
}
