/// What a guest may see on its disk, from nothing but what it submitted and saw complete.
///
/// Each write gives each of its sectors a stamp of its own. A sector holds one of the stamps that may be there: of writes in flight, and of
/// those completed writes that no other completed write surely replaced. A write surely replaces those that were complete when it was
/// submitted; writes that were in flight together may have ended in any order. A second list says the same of what the host's power may
/// leave: there a write replaces others only when a FLUSH that was submitted after it completed has completed.
struct DiskModel {
    /// A stamp that may be there.
    struct Candidate: Equatable {
        var stamp: UInt64
        var submitted: Int
        var completed: Int?
        /// Completed with success, and not a discard: it replaces what was there.
        var isSure = false
    }

    /// A read in flight: what may be seen by it, for each of its sectors.
    private struct Read {
        var sectors: Range<Int>
        var allowed: [Set<UInt64>]
        /// No write is or was in flight there: what is seen stays.
        var isQuiet: [Bool]
    }

    /// How a write ended.
    enum Outcome {
        /// It is on the disk.
        case done
        /// It failed, was a discard, or nobody waited for it: it may be there, in parts even.
        case unsure
    }

    private var live: [[Candidate]]
    private var powered: [[Candidate]]
    private var reads: [UInt64: Read] = [:]
    private var time = 0
    /// Writes that were submitted later than that are durable when they complete; nil while a FLUSH is needed.
    private var writeThroughSince: Int?
    /// Sectors that were compared.
    private(set) var verifiedSectors: UInt64 = 0

    /// A disk of zeroes. With write-through, every completed write is durable.
    init(sectorCount: Int, isWriteThrough: Bool) {
        let zeroes = Candidate(stamp: 0, submitted: 0, completed: 0, isSure: true)
        live = Array(repeating: [zeroes], count: sectorCount)
        powered = live
        writeThroughSince = isWriteThrough ? 0 : nil
    }

    /// The stamp of a sector of a write; 0 is a sector of zeroes.
    static func stamp(_ base: UInt64, _ sector: Int) -> UInt64 { base == 0 ? 0 : base &+ UInt64(sector) }

    // MARK: Writes

    /// Notes a write of stamps (zeroes with base 0) and returns what `completeWrite` wants.
    mutating func submitWrite(_ ranges: [Range<Int>], base: UInt64) -> Int {
        time += 1
        for sector in ranges.joined() {
            let candidate = Candidate(stamp: Self.stamp(base, sector), submitted: time)
            live[sector].append(candidate)
            powered[sector].append(candidate)
            for number in reads.keys where reads[number]?.sectors.contains(sector) == true {
                guard let first = reads[number]?.sectors.lowerBound else { continue }
                reads[number]?.allowed[sector - first].insert(candidate.stamp)
                reads[number]?.isQuiet[sector - first] = false
            }
        }
        return time
    }

    /// Notes the end of the write that `submitWrite` numbered.
    mutating func completeWrite(_ write: Int, _ ranges: [Range<Int>], _ outcome: Outcome) {
        time += 1
        for sector in ranges.joined() {
            Self.complete(&live[sector], write, at: time, outcome)
            Self.complete(&powered[sector], write, at: time, outcome)
            guard outcome == .done else { continue }
            live[sector].removeAll { ($0.completed ?? .max) < write }
            if let since = writeThroughSince, write > since { powered[sector].removeAll { ($0.completed ?? .max) < write } }
        }
    }

    private static func complete(_ list: inout [Candidate], _ write: Int, at time: Int, _ outcome: Outcome) {
        for index in list.indices where list[index].submitted == write {
            list[index].completed = time
            list[index].isSure = outcome == .done
        }
    }

    /// The device says that it does without a cache from now on; or it may use one again, or did already.
    mutating func setWriteThrough(_ isOn: Bool) {
        time += 1
        writeThroughSince = isOn ? time : nil
    }

    // MARK: Flushes

    /// Notes a FLUSH and returns what `completeFlush` wants.
    mutating func submitFlush() -> Int {
        time += 1
        return time
    }

    /// Notes the success of a FLUSH: what had completed before it was submitted survives the loss of power.
    mutating func completeFlush(_ flush: Int) {
        time += 1
        for sector in powered.indices {
            var newest = 0
            for candidate in powered[sector] where candidate.isSure && (candidate.completed ?? .max) < flush {
                newest = max(newest, candidate.submitted)
            }
            powered[sector].removeAll { ($0.completed ?? .max) < newest }
        }
    }

    // MARK: Reads

    /// Notes a read.
    mutating func submitRead(_ number: UInt64, _ sectors: Range<Int>) {
        time += 1
        reads[number] = Read(
            sectors: sectors, allowed: sectors.map { Set(live[$0].map(\.stamp)) },
            isQuiet: sectors.map { sector in live[sector].allSatisfy { $0.completed != nil } })
    }

    /// Compares what a read brought, nil for one that failed; what is wrong with it, if anything is.
    mutating func completeRead(_ number: UInt64, _ stamps: [UInt64]?) -> String? {
        time += 1
        guard let read = reads.removeValue(forKey: number) else { return "read \(number) was not in flight" }
        guard let stamps else { return nil }
        for (index, sector) in read.sectors.enumerated() {
            verifiedSectors += 1
            guard read.allowed[index].contains(stamps[index]) else {
                let allowed = read.allowed[index].map(Self.describe).sorted().joined(separator: ", ")
                return "sector \(sector) reads \(Self.describe(stamps[index])), it may hold \(allowed)"
            }
            if read.isQuiet[index] { live[sector].removeAll { $0.stamp != stamps[index] } }
        }
        return nil
    }

    /// Compares the whole disk at rest.
    mutating func compare(_ stamps: ArraySlice<UInt64>) -> String? {
        for (sector, stamp) in stamps.enumerated() {
            verifiedSectors += 1
            if !live[sector].contains(where: { $0.stamp == stamp }) {
                return "in the image, sector \(sector) holds \(Self.describe(stamp))"
            }
        }
        return nil
    }

    static func describe(_ stamp: UInt64) -> String {
        stamp == 0 ? "zeroes" : "sector \(stamp & 0xffff) of write \(stamp >> 16)"
    }

    // MARK: Ends

    /// The guest is gone: nobody waits for what it had in flight.
    mutating func abandon() {
        time += 1
        reads = [:]
        for sector in live.indices {
            Self.abandon(&live[sector], at: time)
            Self.abandon(&powered[sector], at: time)
        }
    }

    private static func abandon(_ list: inout [Candidate], at time: Int) {
        for index in list.indices where list[index].completed == nil { list[index].completed = time }
    }

    /// The host lost its power, and the guest with it.
    mutating func losePower() {
        abandon()
        // One of them is there, and which one says nothing about the others any more.
        for sector in powered.indices {
            powered[sector] = powered[sector].map { Candidate(stamp: $0.stamp, submitted: 0, completed: time) }
        }
        live = powered
    }
}
