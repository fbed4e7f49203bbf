internal import LinuxSystem
internal import VhostUser
internal import Virtio

/// Marks what a queue writes to guest memory in the dirty log of a migration. Used by the queue's poller, and only while there is a log.
///
/// Every mark is made after the store it is about: a front-end that took the bit before reads the page before, and finds the bit again.
@safe
struct QueueLog {
    /// What is logged, and where.
    let ring: RingLog
    private var marks: DirtyMarks

    init(_ ring: RingLog) {
        self.ring = ring
        marks = DirtyMarks(ring.log)
    }

    /// A byte or more of a buffer, in `memory`.
    mutating func noteBuffer(_ place: UnsafeMutableRawPointer, _ length: Int, in memory: GuestMemory) {
        guard ring.logsBuffers, let address = unsafe memory.guestAddress(of: place) else { return }
        marks.add(address, UInt64(length))
    }

    /// What a batch wrote into the ring.
    mutating func noteRing(_ writes: RingWrites) {
        for piece in [writes.first, writes.second] { note(piece, writes.area) }
    }

    /// The wish to be notified, or not to be.
    mutating func noteNotification(_ piece: Range<Int>) { note(piece, .device) }

    /// All that the device may write of a ring: for what was written before the log was there, by an earlier daemon too.
    mutating func noteWholeRing(_ layout: VirtqueueLayout, isPacked: Bool) {
        note(0..<layout.deviceBytes, .device)
        if isPacked { note(0..<layout.descriptorBytes, .descriptors) }
    }

    private mutating func note(_ piece: Range<Int>, _ area: RingWrites.Area) {
        let logged = area == .device ? ring.used : ring.descriptors
        logged?.forEach(in: piece) { marks.add($0, $1) }
    }

    /// Puts what was noted into the log, and tells who wants to hear of it.
    mutating func flush() {
        marks.flush()
        if let notifier = ring.notifier, marks.takeChange() { EventFD.signal(raw: notifier.rawValue) }
    }
}
