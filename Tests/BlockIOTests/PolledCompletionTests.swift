import Glibc
import LinuxSystem
import Testing

@testable import BlockIO

/// Who is refused polled completions, and why. A disk that has them is in PolledDeviceTests' guest.
@Suite struct PolledCompletionTests {
    private static func traits(
        _ engine: EngineChoice.Engine = .ioURing, buffered: String? = nil, device: String? = "nvme0n1", queues: Bool = true
    ) -> PolledCompletions.Traits {
        PolledCompletions.Traits(engine: engine, bufferedReason: buffered, device: device, hasPollQueues: queues)
    }

    @Test(
        arguments: [
            (traits(.libaio), nil, "the engine is libaio"), (traits(.null), nil, "the engine is null"),
            (traits(buffered: "asked for"), nil, "the page cache is in between (asked for)"),
            (traits(device: nil), nil, "it lies on no block device"),
            (traits(queues: false), nil, "nvme0n1 has no queues for that (/sys/block/nvme0n1/queue/io_poll)"),
            (traits(), SystemError("read", errno: EOPNOTSUPP), "the kernel refuses a read (Operation not supported)"),
        ] as [(PolledCompletions.Traits, SystemError?, String)])
    func refusals(traits: PolledCompletions.Traits, probe: SystemError?, reason: String) throws {
        let error = try #require(throws: BackingError.self) {
            try PolledCompletions.check(name: "/dev/x", traits: traits) { probe }
        }
        #expect(error.message == "completions of /dev/x cannot be polled: \(reason)")
        #expect(error.hint.contains("--io-poll"))
    }

    @Test func whatHasAllOfItIsTaken() throws { try PolledCompletions.check(name: "/dev/x", traits: Self.traits()) { nil } }

    @Test("Real disks without poll queues are refused", arguments: [TestDisk.Kind.loop, .rootFile, .tmpfs])
    func realDisks(kind: TestDisk.Kind) throws {
        try TestDisk.use(kind) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            guard !backing.hasPollQueues else { return }
            let error = try #require(throws: BackingError.self) {
                _ = try EngineChoice.choose(.automatic, for: backing, pollsCompletions: true)
            }
            #expect(error.kind == .pollingUnavailable && error.message.contains("cannot be polled"), "\(error)")
        }
    }

    @Test("A polled ring flushes by the thread for slow operations")
    func flushes() throws {
        try TestDisk.use(.rootFile) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let engine = try URingEngine(URingSetup(isPolled: true))
            #expect(engine.mode.contains("IOPOLL"))
            let channel = URingChannel(engine: engine, backing: backing)
            defer { channel.close() }
            let completions = UnsafeMutablePointer<IOCompletionList>.allocate(capacity: 1)
            let segments = UnsafeMutablePointer<IOVector>.allocate(capacity: 1)
            let operation = UnsafeMutablePointer<IOOperation>.allocate(capacity: 1)
            defer {
                unsafe completions.deallocate()
                unsafe segments.deallocate()
                unsafe operation.deallocate()
            }
            unsafe completions.initialize(to: IOCompletionList())
            unsafe operation.initialize(to: IOOperation(completions: completions, segments: segments))
            unsafe operation.pointee.kind = .flush
            unsafe operation.pointee.result = Int64.min
            unsafe channel.add(operation)
            engine.submit()
            #expect(engine.inFlight == 1)
            for _ in 0..<5000 where engine.inFlight > 0 {
                if engine.reap() == 0 { usleep(1000) }
            }
            #expect(unsafe operation.pointee.result == 0)
        }
    }
}
