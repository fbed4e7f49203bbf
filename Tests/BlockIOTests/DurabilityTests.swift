import BlockIO
import LinuxSystem
import Testing

/// A loop device counts the flushes that reach it, whoever asks for them, and nobody else uses it.
@Suite("Durability", .serialized)
struct DurabilityTests {
    /// Flush requests completed: the sixteenth field of a block device's statistics (Linux 5.5).
    private static func flushCount(_ path: String) throws -> Int {
        let name = path.split(separator: "/").last ?? ""
        let fields = SystemFile.text("/sys/block/\(name)/stat")?.split(separator: " ") ?? []
        guard fields.count >= 16, let count = Int(fields[15]) else {
            throw TestDisk.Unavailable(what: "a count of flushes (Linux 5.5)")
        }
        return count
    }

    @Test(
        "A durable operation and a flush reach the medium before they complete; others do not cause a flush", arguments: kernelEngines,
        [true, false])
    func durable(engine: EngineChoice.Engine, aligned: Bool) throws {
        try TestDisk.use(.loop) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            let slot = try rig.slot()
            func flushes(_ body: () -> Void) throws -> Int {
                let before = try Self.flushCount(disk.path)
                body()
                return try Self.flushCount(disk.path) - before
            }
            let piece = (aligned ? 0 : 1, 8192)
            func write(_ flags: IOFlags) throws -> Int {
                try flushes {
                    slot.set(.write, at: 0, pieces: [piece], flags: flags)
                    #expect(rig.run(slot) == 8192)
                }
            }
            func range(_ kind: IOKind, _ flags: IOFlags) throws -> Int {
                try flushes {
                    slot.set(kind, at: 65536, length: kind == .flush ? 0 : 65536, flags: flags)
                    #expect(rig.run(slot) == 0)
                }
            }
            #expect(try write([]) == 0)
            #expect(try write(.durable) > 0)
            #expect(try range(.flush, []) > 0)
            for kind in [IOKind.discard, .writeZeroes] {
                #expect(try range(kind, []) == 0)
                #expect(try range(kind, .durable) > 0)
            }
        }
    }
}
