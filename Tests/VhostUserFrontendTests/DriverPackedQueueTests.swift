import Testing
import VhostUserFrontend

@Suite struct DriverPackedQueueTests {
    typealias Bench = RingBench<DriverPackedQueue>

    @Test func directChainBytes() throws {
        let bench = try Bench(.packed, size: 4)
        #expect(bench.add(7, [header], [data, status]))
        #expect(bench.bytes(\.descriptors, 14..<16) == [0, 0], "the head is held back until publish")
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 0..<16) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 16, 0, 0, 0, 0, 0, 0x81, 0])
        #expect(bench.bytes(\.descriptors, 16..<32) == [0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0x83, 0])
        #expect(bench.bytes(\.descriptors, 32..<48) == [0, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x82, 0])
        #expect(bench.queue.freeCount == 1)
        #expect(bench.queue.inFlight == 1)
        #expect(!bench.add(8), "one entry is left")
        #expect(bench.queue.base == 0x8000_8003)
        #expect(bench.queue.baseAfterCrash == 0x8000_8000)
    }

    @Test func indirectChainBytes() throws {
        let bench = try Bench(.packed, size: 3)
        #expect(bench.add(1, indirect: true))
        #expect(bench.add(2, [header, data], [status], indirect: true))
        #expect(bench.bytes(\.descriptors, 14..<16) == [0, 0])
        #expect(bench.bytes(\.descriptors, 30..<32) == [0x84, 0], "behind the head that is held back")
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 14..<16) == [0x84, 0])
        let tables = bench.queue.area.tables.guestAddress
        #expect(bench.read(\.descriptors, 16, as: UInt64.self) == tables + 64)
        #expect(bench.bytes(\.descriptors, 24..<32) == [48, 0, 0, 0, 1, 0, 0x84, 0])
        #expect(bench.bytes(\.tables, 64..<80) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 16, 0, 0, 0, 0, 0, 0, 0])
        #expect(bench.bytes(\.tables, 80..<96) == [0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0])
        #expect(bench.bytes(\.tables, 96..<112) == [0, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0])
    }

    @Test func chainOverTheEndFlipsTheWrapCounter() throws {
        let bench = try Bench(.packed, size: 5)
        #expect(bench.add(1, [header], [data, status]))
        bench.queue.publish()
        bench.complete(0, wrap: true, id: 0, length: 4097)
        #expect(try bench.reapAll() == [UsedBuffer(token: 1, length: 4097)])
        #expect(bench.add(2, [header], [data, status]))
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 62..<64) == [0x81, 0])
        #expect(bench.bytes(\.descriptors, 78..<80) == [0x83, 0])
        #expect(bench.bytes(\.descriptors, 14..<16) == [0x02, 0x80], "the second lap: AVAIL 0, USED 1")
        #expect(bench.queue.base == 0x8003_0001)
        bench.complete(3, wrap: true, id: 0, length: 4097)
        #expect(try bench.reapAll() == [UsedBuffer(token: 2, length: 4097)])
        #expect(bench.queue.base == 0x0001_0001)
        #expect(bench.queue.freeCount == 5)
    }

    @Test func completionsOutOfOrderSkipTheirDescriptors() throws {
        let bench = try Bench(.packed, size: 8)
        #expect(bench.add(10))
        #expect(bench.add(11, [header], [data, status]))
        bench.queue.publish()
        // The device writes used descriptors in its own order from place 0 on, each skipping as many as its buffer took.
        bench.complete(0, wrap: true, id: 1, length: 4097)
        bench.complete(3, wrap: true, id: 0, length: 1)
        #expect(try bench.reapAll() == [UsedBuffer(token: 11, length: 4097), UsedBuffer(token: 10, length: 1)])
        #expect(bench.add(12))
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 5 * 16 + 12..<5 * 16 + 14) == [0, 0], "the id freed last is used first")
    }

    @Test func lengthNeedsTheWriteFlag() throws {
        let bench = try Bench(.packed, size: 2)
        #expect(bench.add(0))
        bench.queue.publish()
        bench.complete(0, wrap: true, id: 0, length: 99, flags: 0)
        #expect(try bench.reapAll() == [UsedBuffer(token: 0, length: 0)])
    }

    @Test func kicksWithoutEventIndex() throws {
        let bench = try Bench(.packed, size: 4)
        #expect(!bench.shouldKick(), "nothing was published")
        #expect(bench.add(0, indirect: true))
        bench.queue.publish()
        #expect(bench.shouldKick())
        #expect(!bench.shouldKick())
        bench.write(\.device, 2, RingFlag.eventDisable)
        #expect(bench.add(1, indirect: true))
        bench.queue.publish()
        #expect(!bench.shouldKick())
    }

    /// 2.8.10: the device waits for a descriptor offset of a lap. Ring of 4, the batch takes places 3, 0 and 1 (lap 1, then lap 0).
    @Test(arguments: [
        (0x8003 as UInt16, true), (0, true), (1, true), (2, false), (3, false), (0x8002, false), (0x8000, false),
    ])
    func kicksAtDescriptorEvent(event: UInt16, expected: Bool) throws {
        let bench = try Bench(.packed, size: 4, eventIndex: true)
        for place in 0..<3 {
            #expect(bench.add(0, indirect: true))
            bench.queue.publish()
            bench.complete(place, wrap: true, id: 0, length: 1)
            #expect(try bench.reapAll().count == 1)
        }
        _ = bench.shouldKick()
        bench.write(\.device, 0, event)
        bench.write(\.device, 2, RingFlag.eventAtDescriptor)
        for _ in 0..<3 { #expect(bench.add(0, indirect: true)) }
        bench.queue.publish()
        #expect(bench.shouldKick() == expected)
    }

    @Test func callsAreArmedAtTheNextUsedPlace() throws {
        let bench = try Bench(.packed, size: 2, eventIndex: true)
        #expect(!bench.enableCalls())
        #expect(bench.bytes(\.driver, 0..<4) == [0, 0x80, 2, 0])
        bench.queue.disableCalls()
        #expect(bench.bytes(\.driver, 2..<4) == [1, 0])
        #expect(bench.add(0))
        bench.queue.publish()
        bench.complete(0, wrap: true, id: 0, length: 1)
        #expect(bench.enableCalls(), "one came back while calls were off")
        #expect(try bench.reapAll().count == 1)
        #expect(!bench.enableCalls())
        #expect(bench.bytes(\.driver, 0..<4) == [0, 0, 2, 0], "place 0 of the lap whose counter is 0")
    }

    @Test func violationsAreFound() throws {
        let bench = try Bench(.packed, size: 4)
        #expect(bench.add(0))
        bench.queue.publish()
        bench.complete(0, wrap: true, id: 4, length: 1)
        #expect(bench.reap() == .violation(.idOutOfRange(4)))
        bench.complete(0, wrap: true, id: 3, length: 1)
        #expect(bench.reap() == .violation(.idNotInFlight(3)))
        bench.complete(0, wrap: true, id: 0, length: 1)
        #expect(bench.reap() == .completed)
        #expect(bench.reap() == .none)
    }
}
