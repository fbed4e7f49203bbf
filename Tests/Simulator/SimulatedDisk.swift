import BlockIO
import LinuxSystem

/// A disk with a cache that only FLUSH empties: it takes its time, does what is in flight in any order and sector by sector, fails now and
/// then, and loses what was not flushed, sector by sector, when the host loses its power.
///
/// Sectors are kept as their stamps; a sector in guest memory is 64 words that all are its stamp.
@safe
final class SimulatedDisk {
    /// An operation that the kernel has.
    private struct Transfer {
        var operation: DiskOperation
        /// Sectors of it that are still to be done, by their place in it.
        var left: [Int]
        var due: UInt64
        var fails: Bool
    }

    /// A write of a dead daemon's that nobody waited for, with the rule of the fence broken.
    private struct Ghost {
        var sector: Int
        var stamp: UInt64
    }

    static let sectorBytes = 512

    /// What reads see.
    private(set) var cache: [UInt64]
    /// What is on stable storage, and what has been in the cache since.
    private var durable: [UInt64]
    private var since: [[UInt64]]
    /// Added to a channel and not submitted to the kernel.
    private var queued: [DiskOperation] = []
    private var inFlight: [Transfer] = []
    /// Added by a daemon that was dead already.
    private var lost: [DiskOperation] = []
    private var ghosts: [Ghost] = []
    /// Something that no correct daemon does.
    private(set) var problem: String?
    /// Sees an operation before its owner has it back.
    var willFinish: ((DiskOperation) -> Void)?

    private let dice: Dice
    private let trace: Trace
    private let hasErrors: Bool
    private let fenceIsBroken: Bool
    // unsafe: a sector's bytes on their way, allocated here and freed in deinit.
    private let bytes: UnsafeMutableRawPointer

    init(sectorCount: Int, dice: Dice, trace: Trace, hasErrors: Bool, fenceIsBroken: Bool) {
        self.dice = dice
        self.trace = trace
        self.hasErrors = hasErrors
        self.fenceIsBroken = fenceIsBroken
        cache = Array(repeating: 0, count: sectorCount)
        durable = cache
        since = Array(repeating: [], count: sectorCount)
        unsafe bytes = .allocate(byteCount: Self.sectorBytes, alignment: 16)
    }

    deinit { unsafe bytes.deallocate() }

    /// Until when every operation fails.
    private var awayUntil: UInt64 = 0

    /// The disk is gone, or full, for a while.
    func goAway(until time: UInt64) { awayUntil = time }

    /// Nothing is on its way.
    var isIdle: Bool { queued.isEmpty && inFlight.isEmpty && ghosts.isEmpty }

    // MARK: The daemon's side

    /// Takes an operation of a living daemon or of a dead one.
    func add(_ operation: DiskOperation, isDead: Bool) {
        if isDead { lost.append(operation) } else { queued.append(operation) }
    }

    /// The kernel gets what was added.
    func submit(now: UInt64) {
        for operation in queued {
            let latency = dice.once(in: 8) ? dice.number(50...400) : dice.number(1...30)
            inFlight.append(transfer(operation, due: now + UInt64(latency), fails: hasErrors && dice.once(in: 40)))
        }
        queued = []
    }

    /// Ends what the kernel has not got.
    func cancelQueued(_ isMeant: (DiskOperation) -> Bool) {
        let cancelled = queued.filter(isMeant)
        queued.removeAll(where: isMeant)
        for operation in cancelled { operation.end(Self.cancelled) }
    }

    /// ECANCELED and EIO, as results.
    private static let cancelled: Int64 = -125
    private static let failed: Int64 = -5

    private func transfer(_ operation: DiskOperation, due: UInt64, fails: Bool) -> Transfer {
        Transfer(operation: operation, left: dice.shuffled(Array(0..<operation.sectorCount)), due: due, fails: fails)
    }

    /// Goes on with one operation; false when none is due.
    func step(now: UInt64) -> Bool {
        if !ghosts.isEmpty, dice.once(in: 4) {
            let ghost = ghosts.remove(at: dice.below(ghosts.count))
            store(ghost.stamp, ghost.sector, isDurable: false)
        }
        let due = inFlight.indices.filter { inFlight[$0].due <= now }
        guard !due.isEmpty else { return false }
        let index = dice.pick(due)
        let count = inFlight[index].left.count
        if now < awayUntil { inFlight[index].fails = true }
        if inFlight[index].fails, dice.once(in: 2) {
            finish(index)
            return true
        }
        if count > 0 { advance(index, by: dice.once(in: 3) ? dice.number(1...count) : count) }
        if inFlight[index].left.isEmpty, count == 0 || !dice.once(in: 3) { finish(index) }
        return true
    }

    private func finish(_ index: Int) {
        let transfer = inFlight.remove(at: index)
        if transfer.operation.kind == .flush, !transfer.fails { makeAllDurable() }
        willFinish?(transfer.operation)
        transfer.operation.end(transfer.fails ? Self.failed : 0)
    }

    private func advance(_ index: Int, by count: Int) {
        for _ in 0..<count { move(inFlight[index].operation, inFlight[index].left.removeLast()) }
    }

    /// Does one sector of an operation.
    private func move(_ operation: DiskOperation, _ place: Int) {
        let sector = operation.firstSector + place
        guard sector < cache.count else {
            problem = "an operation reaches sector \(sector), beyond the disk"
            return
        }
        switch operation.kind {
        case .read:
            unsafe bytes.initializeMemory(as: UInt64.self, repeating: cache[sector], count: Self.sectorBytes / 8)
            copy(operation, place, toSegments: true)
        case .write: store(stamp(operation, place), sector, isDurable: operation.isDurable)
        case .writeZeroes: store(0, sector, isDurable: operation.isDurable)
        case .discard: if dice.once(in: 2) { store(0, sector, isDurable: operation.isDurable) }
        case .flush, .secureErase: problem = "an operation without data has sectors"
        }
    }

    private func stamp(_ operation: DiskOperation, _ place: Int) -> UInt64 {
        copy(operation, place, toSegments: false)
        let words = unsafe bytes.assumingMemoryBound(to: UInt64.self)
        let first = unsafe words[0]
        for word in [1, 20, 43, 62, 63] where unsafe words[word] != first {
            problem = "a sector of a write holds parts of two"
        }
        return first
    }

    /// Copies a sector between its bytes and the operation's segments, which may be cut anywhere.
    private func copy(_ operation: DiskOperation, _ place: Int, toSegments: Bool) {
        let segments = unsafe operation.segments
        var skip = place * Self.sectorBytes
        var done = 0
        var index = 0
        while done < Self.sectorBytes, index < segments.count {
            let segment = unsafe segments[index]
            index += 1
            if segment.length <= skip {
                skip -= segment.length
                continue
            }
            let piece = min(segment.length - skip, Self.sectorBytes - done)
            if toSegments {
                unsafe (segment.base + skip).copyMemory(from: bytes + done, byteCount: piece)
            } else {
                unsafe (bytes + done).copyMemory(from: segment.base + skip, byteCount: piece)
            }
            done += piece
            skip = 0
        }
        if done < Self.sectorBytes { problem = "an operation has fewer bytes than its length says" }
    }

    // MARK: The medium

    private func store(_ stamp: UInt64, _ sector: Int, isDurable: Bool) {
        cache[sector] = stamp
        trace.note("sector \(sector) is now \(DiskModel.describe(stamp))")
        if isDurable {
            durable[sector] = stamp
            since[sector] = []
        } else {
            since[sector].append(stamp)
        }
    }

    private func makeAllDurable() {
        durable = cache
        for sector in since.indices where !since[sector].isEmpty { since[sector] = [] }
    }

    /// The daemon died. What the kernel has ends, wholly or in part, before the next one begins; what it has not got never happened.
    /// Afterwards every operation is in its completion list, for the dead daemon's slots to be freed.
    func daemonDied() {
        let all = queued + inFlight.map(\.operation) + lost
        // Of what was queued the engine may have submitted some by itself.
        for operation in queued.prefix(dice.below(queued.count + 1)) { inFlight.append(transfer(operation, due: 0, fails: false)) }
        for index in inFlight.indices {
            let count = inFlight[index].left.count
            let fate = dice.below(3)
            if fenceIsBroken, inFlight[index].operation.kind == .write {
                haunt(inFlight[index])
            } else if fate > 0, count > 0 {
                advance(index, by: fate == 1 ? count : dice.number(1...count))
            }
        }
        (queued, inFlight, lost) = ([], [], [])
        for operation in all { operation.end(0) }
    }

    private func haunt(_ transfer: Transfer) {
        for place in transfer.left {
            ghosts.append(Ghost(sector: transfer.operation.firstSector + place, stamp: stamp(transfer.operation, place)))
        }
    }

    /// The host lost its power: of each sector some version since the last flush is left.
    func losePower() {
        for sector in cache.indices { cache[sector] = dice.pick([durable[sector]] + since[sector]) }
        ghosts = []
        makeAllDurable()
    }
}
