import BlockIO
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("Discards and zeroes", .serialized)
struct RangeTests {
    /// Bytes that a file takes on its file system.
    private static func allocated(_ path: String) throws -> Int {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { throw SystemError("stat \(path)", errno: errno) }
        return Int(status.st_blocks) * 512
    }

    @Test("A discard gives a file's space back; zeroes do only if they may", arguments: kernelEngines)
    func space(engine: EngineChoice.Engine) throws {
        for kind in [TestDisk.Kind.rootFile, .tmpfs] {
            try TestDisk.use(kind) { disk in
                let backing = try Backing.open(.file(path: disk.path))
                #expect(backing.limits.canDiscard && backing.limits.writeZeroesMayUnmap)
                let rig = try Rig(backing, engine)
                let slot = try rig.slot()
                let size = 1 << 20
                for (kind, flags, remains) in [
                    (IOKind.writeZeroes, IOFlags(), true), (.writeZeroes, .unmap, false), (.discard, IOFlags(), false),
                ] {
                    slot.set(.write, at: 0, pieces: [(0, size)])
                    slot.bytes = [UInt8](repeating: 1, count: size)
                    #expect(rig.run(slot) == Int64(size))
                    slot.set(.flush, at: 0, length: 0)
                    #expect(rig.run(slot) == 0)
                    #expect(try Self.allocated(disk.path) >= size)
                    slot.set(kind, at: 0, length: UInt64(size), flags: flags)
                    #expect(rig.run(slot) == 0)
                    #expect(try (Self.allocated(disk.path) >= size) == remains, "\(kind) \(flags) on \(disk.path)")
                    slot.set(.read, at: 0, pieces: [(0, size)])
                    #expect(rig.run(slot) == Int64(size))
                    #expect(slot.bytes == [UInt8](repeating: 0, count: size))
                }
                // tmpfs knows no zero range: there the zeroes are written, in pieces.
                #expect(rig.channel.counters.writtenZeroes == (kind == .tmpfs ? 1 : 0))
            }
        }
    }

    @Test("Zeroes that must be written come in pieces, to the last block", arguments: kernelEngines)
    func writtenZeroes(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            let slot = try rig.slot(size: 8 << 20)
            let size = (5 << 20) + 512
            slot.set(.write, at: 0, pieces: [(0, size + 4096)])
            slot.bytes = [UInt8](repeating: 9, count: size + 4096)
            #expect(rig.run(slot) == Int64(size + 4096))
            slot.set(.writeZeroes, at: 2048, length: UInt64(size))
            #expect(rig.run(slot) == 0)
            slot.set(.read, at: 0, pieces: [(0, size + 4096)])
            #expect(rig.run(slot) == Int64(size + 4096))
            var expected = [UInt8](repeating: 9, count: size + 4096)
            expected.replaceSubrange(2048..<(2048 + size), with: repeatElement(0, count: size))
            #expect(slot.bytes == expected)
        }
    }

    @Test("Ranges past the end of numbers, and erasing what cannot be erased, are errors; nothing at all is fine", arguments: kernelEngines)
    func refusals(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.rootFile) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            #expect(!backing.limits.canSecureErase)
            let rig = try Rig(backing, engine)
            let slot = try rig.slot()
            for (kind, offset, length, result) in [
                (IOKind.discard, UInt64.max - 4095, UInt64(4096), EINVAL), (.writeZeroes, 0, UInt64.max, EINVAL),
                (.secureErase, 0, 4096, EOPNOTSUPP), (.discard, 4096, 0, 0),
            ] {
                slot.set(kind, at: offset, length: length)
                #expect(rig.run(slot) == -Int64(result))
            }
        }
    }

    @Test("A backing that cannot discard does not fail a discard, and it is counted", arguments: kernelEngines)
    func ignoredDiscard(engine: EngineChoice.Engine) throws {
        // ramfs has neither holes nor direct I/O.
        let folder = TemporaryFolder()
        _ = try TestDisk.output("mount -t ramfs ramfs \(folder.path)")
        defer { _ = try? TestDisk.output("umount -l \(folder.path)") }
        let path = try folder.sparseFile("disk", size: 1 << 20)
        let backing = try Backing.open(.file(path: path))
        #expect(!backing.isDirect && backing.bufferedReason == "the file system has no direct I/O")
        #expect(!backing.limits.canDiscard && backing.limits.canWriteZeroes)
        let rig = try Rig(backing, engine)
        let slot = try rig.slot()
        slot.set(.discard, at: 0, length: 65536)
        #expect(rig.run(slot) == 0)
        #expect(rig.channel.counters.ignoredDiscards == 1)
        slot.set(.writeZeroes, at: 0, length: 65536, flags: .unmap)
        #expect(rig.run(slot) == 0)
        #expect(rig.channel.counters.writtenZeroes == 1)
    }
}
