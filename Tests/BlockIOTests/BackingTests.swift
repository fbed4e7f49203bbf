import BlockIO
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("Backings", .serialized)
struct BackingTests {
    private static func error(_ path: String, _ options: BackingOptions = BackingOptions()) throws -> BackingError {
        do {
            _ = try Backing.open(.file(path: path), options)
        } catch {
            return error
        }
        throw TestDisk.Unavailable(what: "a refusal of \(path)")
    }

    @Test("What cannot be a disk is refused, with its name, the reason and the way out")
    func refusals() throws {
        let folder = TemporaryFolder()
        let missing = try Self.error(folder.path + "/none")
        #expect(missing.kind == .notFound)
        #expect(missing.description == "cannot open \(folder.path)/none: No such file or directory (check the path)")
        #expect(try Self.error(folder.path).kind == .wrongType)
        #expect(try Self.error("/dev/null").kind == .wrongType)
        let pipe = folder.path + "/pipe"
        #expect(unsafe mkfifo(pipe, 0o600) == 0)
        #expect(try Self.error(pipe).message == "\(pipe) is a pipe, neither a regular file nor a block device")
        let empty = try Self.error(try folder.sparseFile("empty", size: 0))
        #expect(empty.kind == .badSize)
        #expect(empty.hint == "give it a size first, for example with truncate -s 10G")
        #expect(try Self.error(try folder.sparseFile("small", size: 511)).kind == .badSize)
    }

    @Test("A file that the daemon may not write is refused with the daemon's user; a symbolic link is followed")
    func permissions() throws {
        let disk = TemporaryDisk()
        let link = disk.folder.path + "/link"
        #expect(unsafe symlink(disk.path, link) == 0)
        #expect(try Backing.open(.file(path: link)).size == 16 << 20)
        // Root may write everything but what the file system itself refuses.
        _ = try TestDisk.output("mount --bind \(disk.folder.path) \(disk.folder.path)")
        defer { _ = try? TestDisk.output("umount -l \(disk.folder.path)") }
        _ = try TestDisk.output("mount -o remount,bind,ro \(disk.folder.path)")
        let error = try Self.error(disk.path)
        #expect(error.kind == .permissionDenied)
        #expect(error.description == "cannot open \(disk.path) for writing: Read-only file system (export it read-only)")
        #expect(try Backing.open(.file(path: disk.path), BackingOptions(isReadOnly: true)).limits == .none)
    }

    @Test("One writer, or any number of readers; the holder is named; the lock can be given back and goes with the backing")
    func locks() throws {
        let disk = TemporaryDisk()
        let spec = BackingSpec.file(path: disk.path)
        let readOnly = BackingOptions(isReadOnly: true)
        do {
            let writer = try Backing.open(spec)
            for options in [BackingOptions(), readOnly] {
                let error = try Self.error(disk.path, options)
                #expect(error.kind == .busy)
                let name = SystemFile.text("/proc/self/comm") ?? ""
                #expect(error.message == "\(disk.path) is in use by process \(getpid()) (\(name))")
            }
            let later = try Backing.open(spec, BackingOptions(takesLock: false))
            #expect(throws: BackingError.self) { try later.lock() }
            writer.unlock()
            try later.lock()
            try later.lock()
            #expect(throws: BackingError.self) { try writer.lock() }
        }
        let readers = [try Backing.open(spec, readOnly), try Backing.open(spec, readOnly)]
        #expect(try Self.error(disk.path).kind == .busy)
        #expect(readers.allSatisfy { $0.isReadOnly })
    }

    @Test("A device that is mounted, or another's, is not taken")
    func claims() throws {
        try TestDisk.use(.loop) { disk in
            do {
                let claim = try FileDescriptor.open(disk.path, flags: O_RDONLY | O_EXCL)
                let error = try Self.error(disk.path)
                #expect(error.kind == .busy)
                #expect(error.hint == "it is mounted, or part of a volume group, array or swap; release it there first")
                #expect(try Backing.open(.file(path: disk.path), BackingOptions(isReadOnly: true)).isReadOnly)
                #expect(try claim.status().kind == .blockDevice)
            }
            let backing = try Backing.open(.file(path: disk.path))
            #expect(throws: SystemError.self) { _ = try FileDescriptor.open(disk.path, flags: O_RDONLY | O_EXCL) }
            backing.unlock()
            _ = try FileDescriptor.open(disk.path, flags: O_RDONLY | O_EXCL)
        }
    }

    @Test("Block sizes and alignment come from the backing, and the page cache helps where they do not fit")
    func alignment() throws {
        try TestDisk.use(.zram) { disk in
            let own = try Backing.open(.file(path: disk.path), BackingOptions(takesLock: false))
            #expect(own.kind == .blockDevice && own.blockSize == 4096 && own.isDirect && own.isMemory)
            #expect(!own.supportsNowait)
            let small = try Backing.open(.file(path: disk.path), BackingOptions(blockSize: 512, takesLock: false))
            #expect(small.blockSize == 512 && !small.isDirect)
            #expect(small.bufferedReason == "the block size 512 is smaller than the 4096 bytes that direct I/O needs")
            #expect(try Self.error(disk.path, BackingOptions(direct: .on, blockSize: 512)).kind == .directUnavailable)
        }
        try TestDisk.use(.rootFile) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            #expect(backing.kind == .regularFile && backing.isDirect && backing.supportsNowait && !backing.isMemory)
            #expect(backing.offsetAlignment >= 512 && backing.memoryAlignment > 0)
            #expect(backing.limits.discardGranularity == 4096)
        }
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path), BackingOptions(blockSize: 4096))
            #expect(backing.blockSize == 4096 && backing.isMemory && !backing.supportsNowait)
        }
        try TestDisk.use(.loop) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            #expect(backing.isDirect && backing.supportsNowait && backing.limits.canDiscard && !backing.limits.canSecureErase)
        }
    }

    @Test("A small block on a disk of larger ones is read and rewritten by the page cache", arguments: kernelEngines)
    func smallBlocks(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.zram) { disk in
            let backing = try Backing.open(.file(path: disk.path), BackingOptions(blockSize: 512))
            let rig = try Rig(backing, engine)
            let mistakes = try RandomWalk(rig, backing, size: 16 << 20, seed: 3).run(operations: 300)
            #expect(mistakes == [])
        }
    }

    @Test("A file is cut where it holds nothing, or by force; holes are nothing")
    func shrinks() throws {
        let disk = TemporaryDisk()
        let file = try Backing.open(.file(path: disk.path))
        try file.resize(to: 32 << 20)
        let descriptor = try FileDescriptor.open(disk.path, flags: O_RDWR)
        let bytes = [UInt8](repeating: 1, count: 4096)
        #expect(unsafe pwrite(descriptor.rawValue, bytes, bytes.count, 16 << 20) == bytes.count)
        try file.resize(to: 24 << 20)
        let error = #expect(throws: BackingError.self) { try file.resize(to: 16 << 20) }
        #expect(
            error?.message.contains("the last 8388608 bytes") == true && error?.message.contains("in use from byte 16777216 on") == true)
        #expect(error?.hint.contains("--force") == true)
        #expect(file.size == 24 << 20)
        try file.resize(to: 16 << 20, force: true)
        #expect(try FileStatus.atPath(disk.path)?.size == 16 << 20)
    }

    @Test("A backing grows: files on request, devices underneath")
    func grows() throws {
        let disk = TemporaryDisk()
        let file = try Backing.open(.file(path: disk.path))
        try file.resize(to: 32 << 20)
        #expect(file.size == 32 << 20)
        #expect(try FileStatus.atPath(disk.path)?.size == 32 << 20)
        #expect(throws: BackingError.self) { try file.resize(to: 1000) }
        #expect(throws: BackingError.self) { try file.resize(to: 0) }
        let null = try Backing.open(.null(size: 1 << 30))
        try null.resize(to: 1 << 31)
        #expect(null.size == 1 << 31)
        try TestDisk.use(.loop) { disk in
            let device = try Backing.open(.file(path: disk.path))
            #expect(device.size == 16 << 20)
            #expect(throws: BackingError.self) { try device.resize(to: 32 << 20) }
            let name = disk.path.split(separator: "/").last ?? ""
            let file = try #require(SystemFile.text("/sys/block/\(name)/loop/backing_file"))
            try FileDescriptor.open(file, flags: O_RDWR).truncate(to: 32 << 20)
            _ = try TestDisk.output("losetup --set-capacity \(disk.path)")
            try device.resize(to: 32 << 20)
            #expect(device.size == 32 << 20)
            #expect(try device.refreshSize() == 32 << 20)
        }
    }
}
