import BlockExport
import Testing

/// Where queues go, on machines that exist on paper.
@Suite struct PlacementTests {
    /// Two nodes of two CPUs.
    static func machine(queues: [Int] = [0, 0, 0, 0], own: [Int] = [0, 0, 0, 0]) -> [Placement.Candidate] {
        (0..<4).map { Placement.Candidate(cpu: $0, node: $0 / 2, queueCount: queues[$0], ownQueueCount: own[$0]) }
    }

    @Test func theListByHandComesFirst() {
        let placement = Placement.choose(among: Self.machine(), cpus: [3], memoryNode: 0, backingNode: 0)
        #expect(placement == Placement(cpu: 3, node: 1, reason: .cpus))
    }

    @Test func thenTheGuestsMemory() {
        let placement = Placement.choose(among: Self.machine(), cpus: nil, memoryNode: 1, backingNode: 0)
        #expect(placement == Placement(cpu: 2, node: 1, reason: .guestMemory))
    }

    @Test func thenTheBacking() {
        let placement = Placement.choose(among: Self.machine(), cpus: nil, memoryNode: nil, backingNode: 1)
        #expect(placement == Placement(cpu: 2, node: 1, reason: .backing))
    }

    @Test func aNodeWithoutCPUsDoesNotCount() {
        let placement = Placement.choose(among: Self.machine(), cpus: nil, memoryNode: 7, backingNode: 1)
        #expect(placement?.reason == .backing)
    }

    @Test func queuesOfOneExportSpreadBeforeTheLoadDecides() {
        let busy = Self.machine(queues: [1, 5, 9, 9], own: [1, 0, 0, 0])
        #expect(Placement.choose(among: busy, cpus: nil, memoryNode: 0, backingNode: nil)?.cpu == 1)
        #expect(Placement.choose(among: Self.machine(queues: [2, 1, 0, 3]), cpus: nil, memoryNode: nil, backingNode: nil)?.cpu == 2)
    }

    @Test func noCandidateNoPlace() {
        #expect(Placement.choose(among: [], cpus: nil, memoryNode: nil, backingNode: nil) == nil)
        #expect(Placement.choose(among: Self.machine(), cpus: [9], memoryNode: nil, backingNode: nil) == nil)
    }
}

@Suite struct LatencyHistogramTests {
    @Test func bucketsCoverEveryLatencyInOrder() {
        var previous = -1
        for exponent in 0..<63 {
            for offset: UInt64 in [0, 1, 3] {
                let nanoseconds = (1 << UInt64(exponent)) + offset << UInt64(max(0, exponent - 2)) % 64
                let bucket = LatencyHistogram.bucket(nanoseconds: nanoseconds)
                #expect((0..<LatencyHistogram.bucketCount).contains(bucket))
                if bucket < LatencyHistogram.bucketCount - 1 {
                    #expect(LatencyHistogram.lowerBound(bucket: bucket) <= nanoseconds)
                    #expect(LatencyHistogram.lowerBound(bucket: bucket + 1) > nanoseconds)
                }
            }
            let bucket = LatencyHistogram.bucket(nanoseconds: 1 << UInt64(exponent))
            #expect(bucket >= previous)
            previous = bucket
        }
    }

    @Test func percentilesAreWithinABucket() {
        var histogram = LatencyHistogram()
        for nanoseconds in 1...10_000 as ClosedRange<UInt64> {
            histogram.add(1, bucket: LatencyHistogram.bucket(nanoseconds: nanoseconds))
        }
        for (share, exact) in [(0.5, 5000.0), (0.99, 9900.0), (0.1, 1000.0)] {
            let found = Double(histogram.percentile(share) ?? 0)
            #expect(abs(found - exact) / exact < 0.125)
        }
        #expect(LatencyHistogram().percentile(0.5) == nil)
    }
}
