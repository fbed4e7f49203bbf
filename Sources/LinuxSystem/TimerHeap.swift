/// Timers by deadline, the earliest first: a binary heap. Timers with equal deadlines come out in the order they went in.
struct TimerHeap {
    private struct Entry {
        let timer: TimerRegistration
        let sequence: UInt64

        func isBefore(_ other: Entry) -> Bool {
            (timer.deadline, sequence) < (other.timer.deadline, other.sequence)
        }
    }

    private var entries: [Entry] = []
    private var nextSequence: UInt64 = 0

    /// How many timers wait, cancelled ones included.
    var count: Int { entries.count }

    /// When the earliest timer is due, in nanoseconds of `MonotonicClock`.
    var nextDeadline: UInt64? { entries.first?.timer.deadline }

    /// Adds a timer.
    mutating func insert(_ timer: TimerRegistration) {
        entries.append(Entry(timer: timer, sequence: nextSequence))
        nextSequence += 1
        var index = entries.count - 1
        while index > 0, entries[index].isBefore(entries[(index - 1) / 2]) {
            entries.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    /// Removes and returns the earliest timer if it is due.
    mutating func popDue(now: UInt64) -> TimerRegistration? {
        guard let first = entries.first, first.timer.deadline <= now else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            siftDown()
        }
        return first.timer
    }

    private mutating func siftDown() {
        var index = 0
        while true {
            var least = index
            for child in [2 * index + 1, 2 * index + 2] where child < entries.count && entries[child].isBefore(entries[least]) {
                least = child
            }
            if least == index { return }
            entries.swapAt(index, least)
            index = least
        }
    }
}
