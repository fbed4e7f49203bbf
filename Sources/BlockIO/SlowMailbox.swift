import LinuxSystem
import Synchronization

/// Where worker threads leave finished operations for one engine, and wake its poller.
///
/// A stack that many push to and one empties. Safety: an operation is a worker's until it is pushed and the engine's after it is taken;
/// the release of the push and the acquire of the taking order everything that the worker wrote before.
final class SlowMailbox: Sendable {
    /// Readable when operations wait, and sometimes once more.
    let event: EventFD
    /// Address of the operation pushed last, 0 for none.
    private let top = Atomic<UInt>(0)

    init() throws(SystemError) {
        event = try EventFD()
    }

    /// Whether operations wait.
    var isEmpty: Bool { top.load(ordering: .relaxed) == 0 }

    /// Returns an operation to its engine; from any thread.
    func push(_ operation: UnsafeMutablePointer<IOOperation>) {
        let address = UInt(bitPattern: operation)
        var below = top.load(ordering: .relaxed)
        while true {
            unsafe operation.pointee.next = UnsafeMutablePointer(bitPattern: below)
            let (exchanged, original) = top.compareExchange(
                expected: below, desired: address, successOrdering: .releasing, failureOrdering: .relaxed)
            if exchanged { break }
            below = original
        }
        // Who finds others there knows that their pusher signals, or has.
        if below == 0 { event.signal() }
    }

    /// Takes all that wait, the one pushed first first; on the engine's thread.
    func takeAll() -> OperationQueue {
        var queue = OperationQueue()
        if isEmpty { return queue }
        var next = unsafe UnsafeMutablePointer<IOOperation>(bitPattern: top.exchange(0, ordering: .acquiring))
        // Last pushed is first in the stack: turn it round.
        var reversed: UnsafeMutablePointer<IOOperation>? = nil
        while let operation = unsafe next {
            unsafe next = operation.pointee.next
            unsafe operation.pointee.next = reversed
            unsafe reversed = operation
        }
        while let operation = unsafe reversed {
            unsafe reversed = operation.pointee.next
            unsafe queue.append(operation)
        }
        return queue
    }
}
