import Testing
import Virtio

@Suite("Packed ring notifications")
struct PackedNotifyTests {
    private func run(_ bench: inout PackedBench, _ count: Int) {
        for _ in 0..<count { _ = bench.driver.add([.writable(bench.address, 1)]) }
        _ = bench.fixture.drain()
        while bench.takeUsed() != nil {}
    }

    @Test(
        "event suppression (2.8.10): told when the wanted position is among those passed",
        arguments: [
            // used position before (laps of 8), published, wanted offset and wrap, expected
            (1, 1, 1, true, true), (1, 1, 2, true, false), (1, 1, 0, true, false), (1, 3, 3, true, true), (1, 3, 4, true, false),
            (1, 1, 1, false, false), (6, 4, 7, true, true), (6, 4, 0, false, true), (6, 4, 1, false, true), (6, 4, 2, false, false),
            (6, 4, 1, true, false), (6, 4, 5, true, false), (8, 8, 7, false, true), (8, 8, 0, true, false), (12, 8, 3, true, true),
            (12, 8, 4, true, false), (12, 8, 3, false, false), (15, 2, 7, false, true), (15, 2, 0, true, true), (15, 2, 1, true, false),
        ] as [(Int, Int, Int, Bool, Bool)])
    func event(start: Int, published: Int, offset: Int, wrap: Bool, expected: Bool) throws {
        var bench = try PackedBench(size: 8, features: .ringEventIndex)
        for _ in 0..<start { run(&bench, 1) }
        #expect(bench.fixture.shouldNotify())
        bench.driver.wish(offset: offset, wrap: wrap, flags: 2)
        run(&bench, published)
        #expect(bench.fixture.shouldNotify() == expected)
        #expect(!bench.fixture.shouldNotify(), "nothing new")
    }

    @Test(
        "flags",
        arguments: [
            (0, true, true), (1, true, false), (0, false, true), (1, false, false),
            // DESC without the feature, and the reserved value: rather one notification too many.
            (2, false, true), (3, true, true),
        ] as [(UInt16, Bool, Bool)])
    func flags(flags: UInt16, eventIndex: Bool, expected: Bool) throws {
        var bench = try PackedBench(features: eventIndex ? .ringEventIndex : [])
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        bench.driver.wish(offset: 7, wrap: false, flags: flags)
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify() == expected)
    }

    @Test("the first answer after a start is yes, even if suppressed") func afterStart() throws {
        var bench = try PackedBench()
        bench.driver.wish(flags: 1)
        #expect(!bench.fixture.shouldNotify(), "nothing published yet")
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        run(&bench, 1)
        #expect(!bench.fixture.shouldNotify())
    }

    @Test("arming", arguments: [true, false])
    func arm(eventIndex: Bool) throws {
        var bench = try PackedBench(size: 3, features: eventIndex ? .ringEventIndex : [])
        run(&bench, 1)
        run(&bench, 1)
        #expect(!bench.fixture.enableNotifications())
        #expect(bench.driver.deviceWish == (eventIndex ? (2, true, 2) : (0, false, 0)))
        run(&bench, 1)
        #expect(!bench.fixture.enableNotifications())
        #expect(bench.driver.deviceWish == (eventIndex ? (0, false, 2) : (0, false, 0)))
        bench.fixture.ring.disableNotifications()
        #expect(bench.driver.deviceWish.flags == 1)
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.enableNotifications(), "a buffer is there already")
    }
}
