import BlockIO
import LinuxSystem
import Testing

/// The engines that work with the kernel.
let kernelEngines: [EngineChoice.Engine] = [.ioURing, .libaio]

@Suite("Engines on every kind of disk", .serialized)
struct EngineTests {
    @Test("What was written is read back, sleeping and spinning", arguments: TestDisk.Kind.allCases, kernelEngines)
    func writesAndReads(kind: TestDisk.Kind, engine: EngineChoice.Engine) throws {
        try TestDisk.use(kind) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            for sleeps in [true, false] {
                rig.sleeps = sleeps
                let slot = try rig.slot()
                let data = (0..<65536).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ ($0 >> 8)) }
                slot.set(.write, at: 8192, pieces: [(0, 4096), (12288, 57344), (8192, 4096)])
                slot.bytes = data
                #expect(rig.run(slot) == 65536)
                slot.set(.read, at: 8192, pieces: [(131072, 65536)])
                #expect(rig.run(slot) == 65536)
                #expect(slot.bytes == data)
                slot.set(.flush, at: 0, length: 0)
                #expect(rig.run(slot) == 0)
            }
            #expect(rig.engine.inFlight == 0)
            #expect(unsafe rig.completions.pointee.inFlight == 0)
            #expect(rig.channel.counters == IOChannelCounters())
        }
    }

    @Test("Random operations at depth 16 leave what a model says", arguments: TestDisk.Kind.allCases, kernelEngines)
    func randomOperations(kind: TestDisk.Kind, engine: EngineChoice.Engine) throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        let size = 16 << 20
        try TestDisk.use(kind, size: UInt64(size)) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine, depth: 8)
            let mistakes = try RandomWalk(rig, backing, size: size, seed: seed).run(operations: 1500)
            #expect(mistakes == [], "seed \(seed)")
            #expect(rig.engine.inFlight == 0)
            #expect(rig.channel.counters.errors == 0)
        }
    }

    @Test("The page cache may be in between", arguments: kernelEngines)
    func buffered(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.rootFile) { disk in
            let backing = try Backing.open(.file(path: disk.path), BackingOptions(direct: .off))
            #expect(!backing.isDirect && backing.bufferedReason == "asked for")
            let rig = try Rig(backing, engine, depth: 8)
            let mistakes = try RandomWalk(rig, backing, size: 16 << 20, seed: 7).run(operations: 500)
            #expect(mistakes == [])
            #expect(rig.channel.counters.bounced == 0)
        }
    }

    @Test("A null disk completes at once and touches no memory")
    func null() throws {
        let backing = try Backing.open(.null(size: 1 << 40))
        let rig = try Rig(backing, .null)
        let slot = try rig.slot()
        slot.set(.read, at: 1 << 39, pieces: [(0, 4096), (8192, 512)])
        slot.bytes = [UInt8](repeating: 5, count: 4608)
        unsafe rig.channel.add(slot.operation)
        #expect(unsafe rig.completions.pointee.pop() == slot.operation)
        #expect(slot.result == 4608)
        #expect(slot.bytes == [UInt8](repeating: 5, count: 4608))
        for kind in [IOKind.flush, .discard, .writeZeroes, .secureErase] {
            slot.set(kind, at: 0, length: 4096)
            #expect(rig.run(slot) == 0)
        }
        #expect(unsafe rig.completions.pointee.isEmpty && rig.completions.pointee.inFlight == 0)
    }
}
