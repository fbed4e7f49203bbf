import BlockExport
import BlockIO
import LinuxSystem

/// An operation that a queue gave to its channel; it begins the request slot that it belongs to.
///
/// Safety: the queue keeps the slot in place from add to completion, and the simulated disk forgets the operation with its completion.
@safe
struct DiskOperation {
    // unsafe: followed by the accessors below only.
    private let pointer: UnsafeMutablePointer<IOOperation>

    init(_ pointer: UnsafeMutablePointer<IOOperation>) { unsafe self.pointer = pointer }

    var kind: IOKind { unsafe pointer.pointee.kind }
    var firstSector: Int { unsafe Int(pointer.pointee.offset) / SimulatedDisk.sectorBytes }
    /// Sectors that it moves or covers; 0 for a flush.
    var sectorCount: Int { kind == .flush ? 0 : unsafe Int(pointer.pointee.length) / SimulatedDisk.sectorBytes }
    var isDurable: Bool { unsafe pointer.pointee.flags.contains(.durable) }
    var segments: UnsafeMutableBufferPointer<IOVector> {
        unsafe UnsafeMutableBufferPointer(start: pointer.pointee.segments, count: Int(pointer.pointee.segmentCount))
    }

    /// Gives it back to its queue: 0 for success, or a negated errno.
    func end(_ error: Int64) {
        let isTransfer = kind == .read || kind == .write
        unsafe pointer.pointee.result = error == 0 && isTransfer ? Int64(pointer.pointee.length) : error
        unsafe pointer.pointee.completions.pointee.append(pointer)
    }

    /// Whether it goes back to that list of its queue's.
    func isOf(_ completions: UnsafeMutablePointer<IOCompletionList>) -> Bool { unsafe pointer.pointee.completions == completions }

    /// Where the status byte goes.
    var status: UnsafeMutableRawPointer {
        get { unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: RequestSlot.self).pointee.status }
        nonmutating set { unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: RequestSlot.self).pointee.status = newValue }
    }

    /// The number that the driver has put behind the status byte.
    var requestNumber: UInt64 { unsafe status.load(fromByteOffset: GuestQueue.numberOffset, as: UInt64.self) }
}
