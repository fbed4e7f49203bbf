import Testing
import VhostUserFrontend

@Suite struct DriverSplitQueueTests {
    typealias Bench = RingBench<DriverSplitQueue>

    @Test func directChainBytes() throws {
        let bench = try Bench(.split, size: 4)
        #expect(bench.add(7, [header], [data, status]))
        #expect(bench.read(\.driver, 2, as: UInt16.self) == 0, "nothing is visible before publish")
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 0..<16) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 16, 0, 0, 0, 1, 0, 1, 0])
        #expect(bench.bytes(\.descriptors, 16..<32) == [0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 3, 0, 2, 0])
        #expect(bench.bytes(\.descriptors, 32..<48) == [0, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])
        #expect(bench.bytes(\.driver, 0..<6) == [0, 0, 1, 0, 0, 0])
        #expect(bench.queue.freeCount == 1)
        #expect(bench.queue.inFlight == 1)
        #expect(!bench.add(8), "one entry is left")
    }

    @Test func indirectChainBytes() throws {
        let bench = try Bench(.split, size: 4)
        #expect(bench.add(1, indirect: true))
        #expect(bench.add(2, [header, data], [status], indirect: true))
        bench.queue.publish()
        let tables = bench.queue.area.tables.guestAddress
        #expect(bench.read(\.descriptors, 16, as: UInt64.self) == tables + 64)
        #expect(bench.bytes(\.descriptors, 24..<32) == [48, 0, 0, 0, 4, 0, 0, 0])
        #expect(bench.bytes(\.tables, 64..<80) == [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 16, 0, 0, 0, 1, 0, 1, 0])
        #expect(bench.bytes(\.tables, 80..<96) == [0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 0, 2, 0])
        #expect(bench.bytes(\.tables, 96..<112) == [0, 0x30, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])
        #expect(bench.bytes(\.driver, 0..<8) == [0, 0, 2, 0, 0, 0, 1, 0])
        #expect(bench.queue.freeCount == 2)
    }

    @Test func directThenIndirect() throws {
        let bench = try Bench(.split, size: 4)
        let segments = [header, data, status]
        let added = unsafe segments.withUnsafeBufferPointer {
            unsafe bench.queue.add(token: 5, segments: $0.baseAddress!, readable: 1, writable: 2, directCount: 1)
        }
        #expect(added)
        bench.queue.publish()
        #expect(bench.bytes(\.descriptors, 8..<16) == [16, 0, 0, 0, 1, 0, 1, 0])
        #expect(bench.read(\.descriptors, 16, as: UInt64.self) == bench.queue.area.tables.guestAddress + 64)
        #expect(bench.bytes(\.descriptors, 24..<32) == [32, 0, 0, 0, 4, 0, 0, 0])
        #expect(bench.bytes(\.tables, 76..<80) == [3, 0, 1, 0], "the table's first descriptor is writable and goes on")
        #expect(bench.bytes(\.tables, 92..<96) == [2, 0, 0, 0])
        bench.complete(0, id: 0, length: 4097)
        #expect(try bench.reapAll() == [UsedBuffer(token: 5, length: 4097)])
        #expect(bench.queue.freeCount == 4)
    }

    @Test func completionsOutOfOrderAndReuse() throws {
        let bench = try Bench(.split, size: 4)
        for token in 0..<2 { #expect(bench.add(token)) }
        bench.queue.publish()
        bench.complete(0, id: 2, length: 1)
        #expect(try bench.reapAll() == [UsedBuffer(token: 1, length: 1)])
        #expect(bench.add(9))
        bench.queue.publish()
        #expect(bench.read(\.driver, 4 + 2 * 2, as: UInt16.self) == 2, "the freed chain is used again")
        bench.complete(1, id: 0, length: 2)
        bench.complete(2, id: 2, length: 3)
        #expect(try bench.reapAll() == [UsedBuffer(token: 0, length: 2), UsedBuffer(token: 9, length: 3)])
        #expect(bench.queue.inFlight == 0)
        #expect(bench.queue.freeCount == 4)
        #expect(bench.queue.base == 3)
        #expect(bench.queue.baseAfterCrash == 3)
    }

    @Test func indicesWrapAt65536() throws {
        let bench = try Bench(.split, size: 2, eventIndex: true)
        for round in 0..<70_000 {
            #expect(bench.add(round, indirect: true))
            bench.queue.publish()
            let index = UInt16(truncatingIfNeeded: round)
            #expect(bench.read(\.driver, 2, as: UInt16.self) == index &+ 1)
            bench.write(\.device, 4 + 8 * 2, index)
            #expect(bench.shouldKick(), "the event is the entry just published")
            let head = bench.read(\.driver, 4 + 2 * (round % 2), as: UInt16.self)
            #expect(!bench.enableCalls())
            #expect(bench.read(\.driver, 4 + 2 * 2, as: UInt16.self) == index)
            bench.complete(index, id: UInt32(head), length: 1)
            #expect(try bench.reapAll() == [UsedBuffer(token: UInt32(round), length: 1)])
        }
    }

    @Test func kicksWithoutEventIndex() throws {
        let bench = try Bench(.split, size: 4)
        #expect(!bench.shouldKick(), "nothing was published")
        #expect(bench.add(0))
        bench.queue.publish()
        #expect(bench.shouldKick())
        #expect(!bench.shouldKick())
        #expect(bench.add(1))
        bench.queue.publish()
        bench.write(\.device, 0, UInt16(1))
        #expect(!bench.shouldKick(), "VIRTQ_USED_F_NO_NOTIFY")
    }

    /// 2.7.10: kick only when the batch reaches the entry that the device waits for.
    @Test(arguments: [(0, true), (1, true), (2, true), (3, false), (65535, false), (100, false)])
    func kicksAtEventIndex(event: UInt16, expected: Bool) throws {
        let bench = try Bench(.split, size: 8, eventIndex: true)
        bench.write(\.device, 4 + 8 * 8, event)
        for token in 0..<3 { #expect(bench.add(token, indirect: true)) }
        bench.queue.publish()
        #expect(bench.shouldKick() == expected)
    }

    @Test func callsWithoutEventIndexUseTheFlag() throws {
        let bench = try Bench(.split, size: 4)
        bench.queue.disableCalls()
        #expect(bench.bytes(\.driver, 0..<2) == [1, 0])
        #expect(!bench.enableCalls())
        #expect(bench.bytes(\.driver, 0..<2) == [0, 0])
    }

    @Test func callsWithEventIndexLeaveTheFlag() throws {
        let bench = try Bench(.split, size: 4, eventIndex: true)
        bench.queue.disableCalls()
        #expect(bench.bytes(\.driver, 0..<2) == [0, 0])
        #expect(bench.read(\.driver, 4 + 8, as: UInt16.self) == 65535)
        #expect(bench.add(0))
        bench.queue.publish()
        bench.complete(0, id: 0, length: 1)
        #expect(bench.enableCalls(), "one came back while calls were off")
        #expect(bench.read(\.driver, 4 + 8, as: UInt16.self) == 0)
    }

    @Test func violationsAreFound() throws {
        let bench = try Bench(.split, size: 4)
        #expect(bench.add(0))
        bench.queue.publish()
        bench.write(\.device, 2, UInt16(2))
        #expect(bench.reap() == .violation(.usedIndexAhead(used: 2, available: 1)))
        bench.write(\.device, 4, UInt32(4))
        bench.write(\.device, 2, UInt16(1))
        #expect(bench.reap() == .violation(.idOutOfRange(4)))
        bench.write(\.device, 4, UInt32(1))
        #expect(bench.reap() == .violation(.idNotInFlight(1)), "1 is inside the chain of 0")
        bench.write(\.device, 4, UInt32(0))
        #expect(bench.reap() == .completed)
    }
}
