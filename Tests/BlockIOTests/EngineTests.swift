import BlockIO
import LinuxSystem
import Testing

/// The engines that work with the kernel.
let kernelEngines: [EngineChoice.Engine] = [.ioURing, .libaio]

@Suite("Engines on every kind of disk", .serialized)
struct EngineTests {
    @Test("What was written is read back, sleeping and spinning", arguments: TestDisk.Kind.allCases, kernelEngines)
    func writesAndReads(kind: TestDisk.Kind, engine: EngineChoice.Engine) throws {
        let disk = try TestDisk(kind)
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
    }
}
