import Testing
import Virtio

@Suite("Split ring notifications")
struct SplitNotifyTests {
    /// Pops and publishes `count` one-descriptor chains, so that the used index moves on by as many.
    private func run(_ bench: inout SplitBench, _ count: Int) {
        for _ in 0..<count {
            _ = bench.driver.add([.writable(bench.address, 1)])
        }
        _ = bench.fixture.drain()
        while bench.driver.takeUsed() != nil {}
    }

    /// vring_need_event of linux/virtio_ring.h, with the whole table of edges around the wrap.
    @Test(
        "event index: told when the wanted index is passed",
        arguments: [
            // start, published, used_event, expected
            (0, 1, 0, true), (0, 1, 1, false), (0, 3, 0, true), (0, 3, 2, true), (0, 3, 3, false), (0, 3, 65535, false),
            (100, 1, 99, false), (100, 1, 100, true), (100, 5, 104, true), (100, 5, 105, false),
            (65533, 4, 65533, true), (65533, 4, 65535, true), (65533, 4, 0, true), (65533, 4, 1, false), (65533, 4, 65532, false),
            (65535, 1, 65535, true), (65535, 1, 0, false), (65535, 2, 0, true),
        ] as [(UInt16, Int, UInt16, Bool)])
    func usedEvent(start: UInt16, published: Int, event: UInt16, expected: Bool) throws {
        var bench = try SplitBench(size: 8, index: start &- 1, features: [.version1, .ringEventIndex])
        // The first answer after a start is always yes.
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        bench.driver.usedEvent = event
        run(&bench, published)
        #expect(bench.fixture.shouldNotify() == expected)
        #expect(!bench.fixture.shouldNotify(), "nothing new")
    }

    @Test(
        "without event index the flag decides; NOTIFY_ON_EMPTY overrules it on an empty ring",
        arguments: [
            (0, false, 0, true), (1, false, 0, false), (1, true, 0, true), (1, true, 1, false), (0, true, 1, true),
        ] as [(UInt16, Bool, Int, Bool)])
    func flags(noInterrupt: UInt16, onEmpty: Bool, left: Int, expected: Bool) throws {
        var bench = try SplitBench(features: onEmpty ? [.version1, .notifyOnEmpty] : .version1)
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        bench.driver.availFlags = noInterrupt
        run(&bench, 1)
        for _ in 0..<left { _ = bench.driver.add([.writable(bench.address, 1)]) }
        #expect(bench.fixture.shouldNotify() == expected)
    }

    @Test("NOTIFY_ON_EMPTY waits for the chains in flight") func onEmptyInFlight() throws {
        var bench = try SplitBench(features: [.version1, .notifyOnEmpty])
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        bench.driver.availFlags = 1
        _ = bench.driver.add([.writable(bench.address, 1)])
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.pop() == .chain)
        let first = bench.fixture.segments.chain.handle
        #expect(bench.fixture.pop() == .chain)
        bench.fixture.ring.push(first, length: 1)
        bench.fixture.ring.publish()
        #expect(!bench.fixture.shouldNotify())
        bench.fixture.ring.push(bench.fixture.segments.chain.handle, length: 1)
        bench.fixture.ring.publish()
        #expect(bench.fixture.shouldNotify())
    }

    @Test("the first answer after a start is yes, even if suppressed") func afterStart() throws {
        var bench = try SplitBench()
        bench.driver.availFlags = 1
        #expect(!bench.fixture.shouldNotify(), "nothing published yet")
        run(&bench, 1)
        #expect(bench.fixture.shouldNotify())
        run(&bench, 1)
        #expect(!bench.fixture.shouldNotify())
    }

    @Test("arming: event index") func armEventIndex() throws {
        var bench = try SplitBench(index: 65534, features: [.version1, .ringEventIndex])
        #expect(!bench.fixture.enableNotifications())
        #expect(bench.driver.availEvent == 65534)
        run(&bench, 3)
        #expect(!bench.fixture.enableNotifications())
        #expect(bench.driver.availEvent == 1)
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.enableNotifications(), "a buffer is there already")
        _ = bench.fixture.drain()
        bench.fixture.ring.disableNotifications()
        // The driver kicks when it moves past avail_event: just behind the device, that is a lap away.
        #expect(bench.driver.availEvent == bench.driver.availIndex &- 1)
        #expect(bench.driver.usedFlags == 0)
    }

    @Test("arming: flags") func armFlags() throws {
        var bench = try SplitBench()
        bench.fixture.ring.disableNotifications()
        #expect(bench.driver.usedFlags == 1)
        #expect(!bench.fixture.enableNotifications())
        #expect(bench.driver.usedFlags == 0)
        _ = bench.driver.add([.writable(bench.address, 1)])
        #expect(bench.fixture.enableNotifications())
    }
}
