internal import BlockIO
package import LinuxSystem
internal import Synchronization

/// The live counters of one queue: written by the poller that owns the queue, read by the control thread at any time.
///
/// One writer, so a count is a relaxed load and a relaxed store, never a locked instruction; the reader may see counters of one
/// request apart by a moment, and never a torn number. The block outlives ring restarts and poller changes: it belongs to the export.
/// Each queue has a block of its own, page-aligned, so that no two pollers write to one cache line.
@safe
package final class QueueCounters: Sendable {
    /// Kinds of request that are counted apart.
    enum Kind: UInt8, CaseIterable {
        case read, write, flush, discard, writeZeroes, other
    }

    /// Single words, in order after the kinds.
    enum Word: Int, CaseIterable {
        case ioErrors, unsupported, malformed, notificationsSent, dispatches, emptyDispatches, batchMax, inFlight, oldestStart
        /// Times that a front-end's descriptor held the poller up until it was interrupted.
        case stalls
        /// Requests that are held now, that were ever, and that got their error when their time was over.
        case held, heldTotal, holdTimeouts
        /// Of what is held now: since when, the errno of the last failure, how often it was tried.
        case heldSince, heldError, heldTries
        /// What happened on the channel (`IOChannelCounters`).
        case bounced, bounceWaits, engineFullWaits, shortTransfers, retries, ignoredDiscards, writtenZeroes, backingErrors
    }

    // Layout in 8-byte words: the single words, padded to 32; then per kind requests, bytes, latency sum, pad to 4, and the histogram.
    static let kindsOffset = 32
    static let kindStride = 4 + LatencyHistogram.bucketCount
    static let wordCount = kindsOffset + Kind.allCases.count * kindStride

    private let mapping: MemoryMapping
    // unsafe: points into `mapping`, which lives as long as this object; indices are compile-time enumerations.
    private nonisolated(unsafe) let words: UnsafeMutablePointer<Atomic<UInt64>>

    /// Maps a zeroed block; its pages are touched only as counters move.
    package init() throws(SystemError) {
        mapping = try MemoryMapping(anonymous: Self.wordCount * MemoryLayout<UInt64>.stride, node: nil)
        unsafe words = mapping.base.bindMemory(to: Atomic<UInt64>.self, capacity: Self.wordCount)
    }

    /// The counters as the poller writes them: without the object, whose reference count would be touched.
    var live: Live { unsafe Live(words: words) }

    /// Adds what a channel counted since an earlier reading; poller only.
    func add(_ now: IOChannelCounters, since before: IOChannelCounters) {
        add(now.bounced &- before.bounced, to: .bounced)
        add(now.bounceWaits &- before.bounceWaits, to: .bounceWaits)
        add(now.engineFullWaits &- before.engineFullWaits, to: .engineFullWaits)
        add(now.shortTransfers &- before.shortTransfers, to: .shortTransfers)
        add(now.retries &- before.retries, to: .retries)
        add(now.ignoredDiscards &- before.ignoredDiscards, to: .ignoredDiscards)
        add(now.writtenZeroes &- before.writtenZeroes, to: .writtenZeroes)
        add(now.errors &- before.errors, to: .backingErrors)
    }

    /// A single word; any thread.
    func read(_ word: Word) -> UInt64 { live.read(word) }

    /// Adds to a single word; poller only.
    func add(_ amount: UInt64, to word: Word) { live.add(amount, to: word) }

    /// Sets a gauge; poller only.
    func set(_ word: Word, _ value: UInt64) { live.set(word, value) }

    /// The way to the counters of the poller that owns the queue.
    ///
    /// Safety: points into the block of a ``QueueCounters`` that its holder keeps; indices are compile-time enumerations.
    @safe
    struct Live {
        fileprivate let words: UnsafeMutablePointer<Atomic<UInt64>>

        /// Adds to a single word.
        @inline(__always)
        func add(_ amount: UInt64, to word: Word) { unsafe Self.add(amount, words + word.rawValue) }

        /// Sets a gauge.
        @inline(__always)
        func set(_ word: Word, _ value: UInt64) { unsafe words[word.rawValue].store(value, ordering: .relaxed) }

        /// A single word.
        @inline(__always)
        func read(_ word: Word) -> UInt64 { unsafe words[word.rawValue].load(ordering: .relaxed) }

        /// Counts completed requests of one kind and latency, `bytes` in all.
        @inline(__always)
        func complete(_ kind: Kind, count: UInt64, bytes: UInt64, nanoseconds: UInt64) {
            let base = unsafe words + QueueCounters.kindsOffset + Int(kind.rawValue) * QueueCounters.kindStride
            unsafe Self.add(count, base)
            unsafe Self.add(bytes, base + 1)
            unsafe Self.add(nanoseconds &* count, base + 2)
            unsafe Self.add(count, base + 4 + LatencyHistogram.bucket(nanoseconds: nanoseconds))
        }

        @inline(__always)
        private static func add(_ amount: UInt64, _ word: UnsafeMutablePointer<Atomic<UInt64>>) {
            // One writer: no read-modify-write is needed, and relaxed suffices since no other data hangs on a counter.
            let old = unsafe word.pointee.load(ordering: .relaxed)
            unsafe word.pointee.store(old &+ amount, ordering: .relaxed)
        }
    }

    /// What the queue has done so far, in one number: each request counts as one, and each 16 KiB of data as one more; any thread.
    var work: UInt64 {
        Kind.allCases.reduce(0) { sum, kind in
            let base = Self.kindsOffset + Int(kind.rawValue) * Self.kindStride
            return unsafe sum &+ words[base].load(ordering: .relaxed) &+ words[base + 1].load(ordering: .relaxed) >> 14
        }
    }

    /// A picture of all counters; any thread.
    func snapshot() -> QueueStatistics {
        var picture = QueueStatistics()
        picture.read = operation(.read)
        picture.write = operation(.write)
        picture.flush = operation(.flush)
        picture.discard = operation(.discard)
        picture.writeZeroes = operation(.writeZeroes)
        picture.other = operation(.other)
        picture.ioErrors = read(.ioErrors)
        picture.unsupported = read(.unsupported)
        picture.malformed = read(.malformed)
        picture.notificationsSent = read(.notificationsSent)
        picture.dispatches = read(.dispatches)
        picture.emptyDispatches = read(.emptyDispatches)
        picture.batchMax = read(.batchMax)
        picture.inFlight = read(.inFlight)
        picture.stalls = read(.stalls)
        picture.held = read(.held)
        picture.heldTotal = read(.heldTotal)
        picture.holdTimeouts = read(.holdTimeouts)
        picture.channel.bounced = read(.bounced)
        picture.channel.bounceWaits = read(.bounceWaits)
        picture.channel.engineFullWaits = read(.engineFullWaits)
        picture.channel.shortTransfers = read(.shortTransfers)
        picture.channel.retries = read(.retries)
        picture.channel.ignoredDiscards = read(.ignoredDiscards)
        picture.channel.writtenZeroes = read(.writtenZeroes)
        picture.channel.errors = read(.backingErrors)
        return picture
    }

    private func operation(_ kind: Kind) -> OperationStatistics {
        let base = Self.kindsOffset + Int(kind.rawValue) * Self.kindStride
        var result = OperationStatistics()
        result.requests = unsafe words[base].load(ordering: .relaxed)
        result.bytes = unsafe words[base + 1].load(ordering: .relaxed)
        result.latencyNanosecondsSum = unsafe words[base + 2].load(ordering: .relaxed)
        for bucket in 0..<LatencyHistogram.bucketCount {
            let count = unsafe words[base + 4 + bucket].load(ordering: .relaxed)
            if count > 0 { result.latency.add(count, bucket: bucket) }
        }
        return result
    }
}

extension QueueStatistics {
    /// Adds another queue's counters, gauges summed and maxima kept.
    mutating func merge(_ other: QueueStatistics) {
        read.merge(other.read)
        write.merge(other.write)
        flush.merge(other.flush)
        discard.merge(other.discard)
        writeZeroes.merge(other.writeZeroes)
        self.other.merge(other.other)
        ioErrors &+= other.ioErrors
        unsupported &+= other.unsupported
        malformed &+= other.malformed
        notificationsSent &+= other.notificationsSent
        dispatches &+= other.dispatches
        emptyDispatches &+= other.emptyDispatches
        batchMax = max(batchMax, other.batchMax)
        inFlight &+= other.inFlight
        stalls &+= other.stalls
        held &+= other.held
        heldTotal &+= other.heldTotal
        holdTimeouts &+= other.holdTimeouts
        channel.merge(other.channel)
    }
}

extension IOChannelCounters {
    /// Adds another channel's counters.
    mutating func merge(_ other: IOChannelCounters) {
        bounced &+= other.bounced
        bounceWaits &+= other.bounceWaits
        engineFullWaits &+= other.engineFullWaits
        shortTransfers &+= other.shortTransfers
        retries &+= other.retries
        ignoredDiscards &+= other.ignoredDiscards
        writtenZeroes &+= other.writtenZeroes
        errors &+= other.errors
    }
}

extension OperationStatistics {
    /// Adds another set of counters.
    mutating func merge(_ other: OperationStatistics) {
        requests &+= other.requests
        bytes &+= other.bytes
        latencyNanosecondsSum &+= other.latencyNanosecondsSum
        latency.merge(other.latency)
    }
}
