import Glibc
import LinuxSystem
import Testing

@testable import BlockIO

@Suite("Registered memory", .serialized)
struct RegisteredMemoryTests {
    @Test("Transfers to registered memory and to other memory leave what a model says", arguments: [TestDisk.Kind.rootFile, .loop, .tmpfs])
    func randomOperations(kind: TestDisk.Kind) throws {
        try TestDisk.use(kind) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .ioURing)
            let engine = try #require(rig.engine as? URingEngine)
            let channel = try #require(rig.channel as? URingChannel)
            let walk = try RandomWalk(rig, backing, size: 16 << 20, seed: 11)
            let memory = try RegisteredMemory(walk.someMemory, on: engine)
            channel.use(memory)
            #expect(walk.run(operations: 800) == [])
            channel.use(nil)
            memory.close()
            #expect(walk.run(operations: 100) == [])
        }
    }

    @Test("A buffer is registered only if it lies in one piece; large ranges are cut into several")
    func pieces() throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .ioURing)
            let engine = try #require(rig.engine as? URingEngine)
            let mapping = try MemoryMapping(anonymous: 64 << 10)
            let base = unsafe mapping.base
            let memory = try RegisteredMemory(
                unsafe [IOVector(base: base, length: 16384), IOVector(base: base + 16384, length: 16384)], on: engine)
            var state = try #require(try ChannelState(backing, mailbox: SlowMailbox()))
            #expect(unsafe state.registeredIndex(base, 4096) == nil)
            state.use(memory)
            let first = try #require(unsafe state.registeredIndex(base, 16384))
            let second = try #require(unsafe state.registeredIndex(base + 16384, 1))
            #expect(first != second)
            #expect(unsafe state.registeredIndex(base + 12288, 4096) == first)
            #expect(unsafe state.registeredIndex(base + 12288, 4097) == nil)
            #expect(unsafe state.registeredIndex(base + 32768, 1) == nil)
            #expect(unsafe state.registeredIndex(base + 32767, 1) == second)
            memory.close()
        }
    }

    @Test("Memory that is not there is refused, and no place is lost")
    func refused() throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .ioURing)
            let engine = try #require(rig.engine as? URingEngine)
            let mapping = try MemoryMapping(anonymous: 4096)
            let hole = unsafe IOVector(base: UnsafeMutableRawPointer(bitPattern: PageSize.bytes)!, length: 4096)
            for _ in 0..<2000 {
                #expect(throws: SystemError.self) {
                    _ = try RegisteredMemory(unsafe [IOVector(base: mapping.base, length: 4096), hole], on: engine)
                }
            }
            let memory = try RegisteredMemory(unsafe [IOVector(base: mapping.base, length: 4096)], on: engine)
            memory.close()
        }
    }
}
