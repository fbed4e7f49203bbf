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
            let memory = walk.someMemory.map { RegisteredMemory($0, on: engine) }
            for part in memory { while try part.pinNext() {} }
            channel.use(memory)
            #expect(walk.run(operations: 800) == [])
            // Piece by piece, with requests in between: both ways in one walk.
            for part in memory { while part.unpinNext() {} }
            #expect(walk.run(operations: 100) == [])
            channel.use([])
            #expect(walk.run(operations: 100) == [])
        }
    }

    @Test("A buffer is registered only if it lies in one piece that is pinned")
    func pieces() throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .ioURing)
            let engine = try #require(rig.engine as? URingEngine)
            let size = RegisteredMemory.pieceSize
            let mapping = try MemoryMapping(anonymous: 2 * size + 8192)
            let base = unsafe mapping.base
            let memory = unsafe RegisteredMemory(IOVector(base: base, length: size + 4096), on: engine)
            let other = unsafe RegisteredMemory(IOVector(base: base + size + 4096, length: 4096), on: engine)
            var state = try #require(try ChannelState(backing, mailbox: SlowMailbox()))
            #expect(unsafe state.registeredIndex(base, 4096) == nil)
            let ranges = [RegisteredRange(memory), RegisteredRange(other)]
            try unsafe ranges.withUnsafeBufferPointer { table in
                unsafe state.use(table.baseAddress, count: table.count)
                #expect(unsafe state.registeredIndex(base, 4096) == nil)
                #expect(try memory.pinNext())
                let first = try #require(unsafe state.registeredIndex(base, 4096))
                #expect(unsafe state.registeredIndex(base + size - 4096, 4096) == first)
                #expect(unsafe state.registeredIndex(base + size, 4096) == nil)
                #expect(memory.byteCount == size)
                #expect(try !memory.pinNext())
                #expect(memory.byteCount == size + 4096)
                let second = try #require(unsafe state.registeredIndex(base + size, 4096))
                #expect(try !other.pinNext())
                let third = try #require(unsafe state.registeredIndex(base + size + 4096, 1))
                #expect(Set([first, second, third]).count == 3)
                // Across pieces, across ranges, and outside.
                #expect(unsafe state.registeredIndex(base + size - 1, 2) == nil)
                #expect(unsafe state.registeredIndex(base + size, 8192) == nil)
                #expect(unsafe state.registeredIndex(base + size + 8192, 1) == nil)
                #expect(memory.unpinNext())
                #expect(unsafe state.registeredIndex(base + size, 4096) == nil)
                #expect(unsafe state.registeredIndex(base, 4096) == first)
                #expect(!memory.unpinNext())
                #expect(!other.unpinNext())
            }
        }
    }

    @Test("Memory that is not there is refused, what was pinned stays, and no place is lost")
    func refused() throws {
        try TestDisk.use(.tmpfs) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, .ioURing)
            let engine = try #require(rig.engine as? URingEngine)
            let size = RegisteredMemory.pieceSize
            let mapping = try MemoryMapping(anonymous: size)
            // Nobody may touch its second half, which therefore cannot be pinned. (Were it unmapped, another test's memory might come there and
            // be unmapped with the first half.)
            let gap = try MemoryMapping(anonymous: 2 * size)
            let base = unsafe gap.base
            unsafe #expect(mprotect(base + size, size, PROT_NONE) == 0)
            let holed = unsafe RegisteredMemory(IOVector(base: base, length: 2 * size), on: engine)
            #expect(try holed.pinNext())
            for _ in 0..<20000 {
                #expect(throws: SystemError.self) { _ = try holed.pinNext() }
            }
            #expect(holed.byteCount == size)
            let memory = unsafe RegisteredMemory(IOVector(base: mapping.base, length: size), on: engine)
            #expect(try !memory.pinNext())
            #expect(!memory.unpinNext())
            #expect(!holed.unpinNext())
        }
    }
}
