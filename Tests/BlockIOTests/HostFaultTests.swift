import BlockIO
import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("When the host fails", .serialized)
struct HostFaultTests {
    @Test("Reading a file that was cut short underneath is an error; what is left of it is read", arguments: kernelEngines, [true, false])
    func truncated(engine: EngineChoice.Engine, direct: Bool) throws {
        for kind in [TestDisk.Kind.tmpfs, .rootFile] {
            try TestDisk.use(kind) { disk in
                let backing = try Backing.open(.file(path: disk.path), BackingOptions(direct: direct ? .automatic : .off))
                #expect(backing.isDirect == direct)
                let rig = try Rig(backing, engine)
                let slot = try rig.slot()
                slot.set(.write, at: 0, pieces: [(0, 65536)])
                slot.bytes = [UInt8](repeating: 3, count: 65536)
                #expect(rig.run(slot) == 65536)
                try FileDescriptor.open(disk.path, flags: O_RDWR).truncate(to: 12288 + 1000)
                for (offset, length, result) in [(0, 65536, -EIO), (8192, 8192, -EIO), (32768, 4096, -EIO), (8192, 4096, 4096)] {
                    slot.set(.read, at: UInt64(offset), pieces: [(131072, length)])
                    #expect(rig.run(slot) == Int64(result), "\(length) bytes at \(offset) of \(kind)")
                }
                #expect(slot.bytes == [UInt8](repeating: 3, count: 4096))
                #expect(rig.channel.counters.errors == 3)
                #expect(try backing.refreshSize() == 13288)
            }
        }
    }

    @Test("A full file system is ENOSPC to the write that finds it full, and nothing else breaks", arguments: kernelEngines)
    func noSpace(engine: EngineChoice.Engine) throws {
        let folder = TemporaryFolder()
        _ = try TestDisk.output("mount -t tmpfs -o size=1m tmpfs \(folder.path)")
        defer { _ = try? TestDisk.output("umount -l \(folder.path)") }
        let path = try folder.sparseFile("disk", size: 8 << 20)
        let backing = try Backing.open(.file(path: path))
        let rig = try Rig(backing, engine)
        let slot = try rig.slot(size: 2 << 20)
        slot.set(.write, at: 0, pieces: [(0, 2 << 20)])
        #expect(rig.run(slot) == -Int64(ENOSPC))
        slot.set(.read, at: 4 << 20, pieces: [(0, 65536)])
        #expect(rig.run(slot) == 65536)
        slot.set(.discard, at: 0, length: 1 << 20)
        #expect(rig.run(slot) == 0)
        slot.set(.write, at: 0, pieces: [(0, 65536)])
        #expect(rig.run(slot) == 65536)
    }

    @Test("Ranges that no block fits are refused, whatever the memory", arguments: kernelEngines)
    func misalignedRange(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.zram) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            #expect(backing.blockSize == 4096 && backing.offsetAlignment == 4096)
            let rig = try Rig(backing, engine)
            let slot = try rig.slot()
            for (offset, piece) in [(512, (0, 4096)), (4096, (0, 512)), (4096, (1, 512)), (512, (1, 4096))] {
                slot.set(.read, at: UInt64(offset), pieces: [piece])
                #expect(rig.run(slot) == -Int64(EINVAL))
            }
            slot.set(.read, at: 4096, pieces: [(1, 4096)])
            #expect(rig.run(slot) == 4096)
            #expect(rig.channel.counters.bounced == 1)
        }
    }

    @Test("Past a device's end nothing is read or written", arguments: kernelEngines)
    func pastTheEnd(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.loop) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            let slot = try rig.slot()
            for (kind, result) in [(IOKind.read, EIO), (.write, ENOSPC)] {
                slot.set(kind, at: backing.size, pieces: [(0, 4096)])
                let answer = rig.run(slot)
                #expect(answer == -Int64(result) || answer == -Int64(EIO))
                slot.set(kind, at: backing.size - 4096, pieces: [(0, 8192)])
                #expect(rig.run(slot) < 0)
            }
        }
    }

    @Test("The sysctl fs.aio-max-nr used up is said, with the way out; engines there are go on")
    func aioQuota() throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .libaio)
            // The quota as it usually is (65536) has no room for so many beside the rig's; where it is larger, for several times as many.
            var engines: [AIOEngine] = []
            let refusal = #expect(throws: SystemError.self) {
                while engines.count < 64 { engines.append(try AIOEngine(depth: 65536)) }
            }
            #expect(refusal?.errno == EAGAIN)
            #expect(refusal?.description.contains("raise the sysctl fs.aio-max-nr") == true)
            let slot = try rig.slot()
            slot.set(.write, at: 0, pieces: [(0, 4096)])
            #expect(rig.run(slot) == 4096)
        }
    }

    @Test("What the kernel refuses when it is submitted is told by the next reap")
    func refusedAtSubmission() throws {
        try TestDisk.use(.rootFile) { disk in
            let rig = try Rig(try Backing.open(.file(path: disk.path)), .libaio)
            let slot = try rig.slot()
            // An offset that a signed number does not hold: io_submit itself answers EINVAL.
            slot.set(.read, at: 1 << 63, pieces: [(0, 4096)])
            unsafe rig.channel.add(slot.operation)
            rig.engine.submit()
            #expect(slot.result == -Int64(EINVAL))
            #expect(rig.engine.reap() == 1)
            #expect(rig.engine.reap() == 0)
            #expect(unsafe rig.completions.pointee.pop() == slot.operation)
        }
    }

    static let failures: [(IOKind, Int32, Bool, Bool)] = [
        (.write, EIO, false, true), (.read, EIO, true, true), (.write, ENOSPC, true, true), (.write, EDQUOT, false, true),
        (.read, ENXIO, true, true), (.read, ENODEV, true, true), (.write, EAGAIN, true, true), (.read, ENOTCONN, false, true),
        (.discard, EIO, true, true), (.writeZeroes, ENOSPC, false, true), (.flush, EIO, true, true),
        // A flush through the page cache says once what is lost.
        (.flush, EIO, false, false), (.flush, ENOSPC, false, false),
        // Not the backing's fault, or nothing that a second try changes.
        (.read, EINVAL, true, false), (.read, EFAULT, true, false), (.secureErase, EOPNOTSUPP, true, false),
        (.write, ECANCELED, true, false),
        (.write, 0, true, false), (.write, 100_001, true, false),
    ]

    @Test("Only failures of the backing may be tried again, and no flush that the page cache failed", arguments: failures)
    func whoseFault(kind: IOKind, errno: Int32, isDirect: Bool, mayRetry: Bool) {
        #expect(IOFailure.mayRetry(kind, result: -Int64(errno), isDirect: isDirect) == mayRetry)
    }

    @Test("Memory that is not there fails its own operation only", arguments: kernelEngines)
    func badMemory(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            let bad = try rig.slot()
            let good = try rig.slot()
            bad.set(.write, at: 0, pieces: [(0, 4096)])
            // A page that nothing is mapped at: the operation of a guest whose memory the front-end took away.
            unsafe bad.segments.pointee = IOVector(base: UnsafeMutableRawPointer(bitPattern: PageSize.bytes)!, length: 4096)
            good.set(.write, at: 4096, pieces: [(0, 4096)])
            unsafe rig.channel.add(bad.operation)
            unsafe rig.channel.add(good.operation)
            for _ in 0..<2 { #expect(unsafe rig.next() != nil) }
            #expect(bad.result == -Int64(EFAULT))
            #expect(good.result == 4096)
        }
    }
}
