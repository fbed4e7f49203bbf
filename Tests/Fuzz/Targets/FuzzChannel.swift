import BlockIO
import LinuxSystem
import Virtio

@testable import BlockExport

/// A disk that checks what it is asked, moves the data, and answers when and how the input says.
///
/// Safety: operations are in place from `add` until they are appended to their completion list, as `IOChannel` says.
@safe
final class FuzzChannel: IOChannel {
    private let memory: FuzzMemory
    private let disk: FuzzDisk
    private let journal: RingJournal
    // unsafe: see the type's own note.
    private var waiting: [UnsafeMutablePointer<IOOperation>]
    /// Called with the chain that an operation belongs to, what the operation is, and how it ended; before it ends the result is nil.
    var onOperation: (UInt16, FuzzExpectation.Outcome, Int64?) -> Void = { _, _, _ in }

    init(_ memory: FuzzMemory, _ disk: FuzzDisk, _ journal: RingJournal) {
        (self.memory, self.disk, self.journal) = (memory, disk, journal)
        unsafe waiting = []
    }

    var waitingCount: Int { unsafe waiting.count }

    func add(_ operation: UnsafeMutablePointer<IOOperation>) {
        check(unsafe operation.pointee)
        unsafe moveData(operation.pointee)
        unsafe waiting.append(operation)
        let (head, what) = unsafe describe(operation)
        onOperation(head, what, nil)
    }

    private func describe(_ operation: UnsafeMutablePointer<IOOperation>) -> (UInt16, FuzzExpectation.Outcome) {
        // Each operation begins a request slot.
        let slot = unsafe UnsafeMutableRawPointer(operation).assumingMemoryBound(to: RequestSlot.self)
        let what = unsafe FuzzExpectation.Outcome.transfer(
            operation.pointee.kind, offset: operation.pointee.offset, length: operation.pointee.length)
        return unsafe (slot.pointee.handle.id, what)
    }

    private func check(_ operation: IOOperation) {
        if disk.isReadOnly, operation.kind != .read, operation.kind != .flush { journal.fail("\(operation.kind) on a read-only disk") }
        let (offset, length) = (operation.offset, operation.length)
        guard operation.kind != .flush else { return }
        let (end, overflow) = offset.addingReportingOverflow(length)
        if overflow || end > UInt64(FuzzDisk.bytes) { journal.fail("\(operation.kind) of \(length) bytes at \(offset), past the end") }
        if offset % UInt64(disk.blockSize) != 0 || length % UInt64(disk.blockSize) != 0 || length == 0 {
            journal.fail("\(operation.kind) of \(length) bytes at \(offset), not whole blocks")
        }
    }

    /// Reads or writes every byte of the segments, so that the sanitizer sees what lies outside.
    private func moveData(_ operation: IOOperation) {
        guard operation.kind == .read || operation.kind == .write else { return }
        var total: UInt64 = 0
        for index in 0..<Int(operation.segmentCount) {
            let segment = unsafe operation.segments[index]
            guard unsafe memory.holds(segment.base, segment.length) else {
                journal.fail("segment \(index) of \(segment.length) bytes is not in guest memory")
                return
            }
            total += UInt64(segment.length)
            if operation.kind == .read {
                unsafe segment.base.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: index), count: segment.length)
            } else {
                let copy = UnsafeMutableRawPointer.allocate(byteCount: max(segment.length, 1), alignment: 1)
                unsafe copy.copyMemory(from: segment.base, byteCount: segment.length)
                unsafe copy.deallocate()
            }
        }
        if total != operation.length { journal.fail("\(operation.length) bytes are asked for, the segments have \(total)") }
        if operation.segmentCount > 1024 { journal.fail("\(operation.segmentCount) segments, more than one system call takes") }
    }

    /// Ends one of the operations that wait: well, or with an error.
    func completeOne(_ reader: inout InputReader) {
        guard waitingCount > 0 else { return }
        let operation = unsafe waiting.remove(at: reader.number(below: waitingCount))
        let isTransfer = unsafe operation.pointee.kind == .read || operation.pointee.kind == .write
        let error: Int64 = reader.chance(in: 4) ? reader.pick([-5, -28, -95, -125]) : 0
        unsafe operation.pointee.result = error != 0 ? error : isTransfer ? Int64(operation.pointee.length) : 0
        let (head, what) = unsafe describe(operation)
        onOperation(head, what, unsafe operation.pointee.result)
        unsafe operation.pointee.completions.pointee.append(operation)
    }

    func cancelWaiting(_ completions: UnsafeMutablePointer<IOCompletionList>) {}
    func close() {}
    var counters: IOChannelCounters { IOChannelCounters() }
}
