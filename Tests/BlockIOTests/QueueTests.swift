import Glibc
import LinuxSystem
import Testing

@testable import BlockIO

@Suite("Queues, the engine's limits, and cancelling", .serialized)
struct QueueTests {
    @Test("A full engine takes everything, and finishes it in order", arguments: kernelEngines)
    func fullEngine(engine: EngineChoice.Engine) throws {
        // A loop device completes later than it is asked. What is memory waits for no place in libaio. One place makes the order visible.
        for kind in engine == .libaio ? [TestDisk.Kind.loop] : [.tmpfs, .loop] {
            try TestDisk.use(kind) { disk in
                let backing = try Backing.open(.file(path: disk.path))
                let rig = try Rig(backing, engine, depth: 1)
                let slots = try (0..<200).map { _ in try rig.slot(size: 4096) }
                for (index, slot) in slots.enumerated() {
                    slot.set(.write, at: UInt64(index) * 4096, pieces: [(0, 4096)])
                    slot.bytes = [UInt8](repeating: UInt8(index), count: 4096)
                    unsafe rig.channel.add(slot.operation)
                }
                #expect(rig.engine.inFlight == 200)
                #expect(unsafe rig.completions.pointee.inFlight == 200)
                for slot in slots { #expect(unsafe rig.next() == slot.operation) }
                #expect(rig.channel.counters.engineFullWaits == 199)
                #expect(rig.engine.inFlight == 0)
            }
        }
    }

    @Test("libaio does transfers of memory when they are added, of any shape, and the next reap tells of them")
    func inPlace() throws {
        try TestDisk.use(.tmpfs) { disk in
            let rig = try Rig(try Backing.open(.file(path: disk.path)), .libaio, depth: 1)
            let whole = try rig.slot(size: 2 << 20)
            let data = (0..<2048 * 512).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 9) }
            for flags in [[], IOFlags.durable] {
                // More pieces than one call takes, and one piece.
                whole.set(.write, at: 4096, pieces: (0..<2048).map { ($0 * 1024, 512) }, flags: flags)
                whole.bytes = data
                let single = try rig.slot(size: 4096)
                single.set(.write, at: 0, pieces: [(0, 4096)], flags: flags)
                single.bytes = [UInt8](repeating: 0xa5, count: 4096)
                let back = try rig.slot(size: 4096 + 1 << 20)
                back.set(.read, at: 0, pieces: [(0, 4096), (4096, 1 << 20)])
                for slot in [whole, single, back] { unsafe rig.channel.add(slot.operation) }
                #expect((whole.result, single.result, back.result) == (1 << 20, 4096, 4096 + 1 << 20))
                #expect(back.bytes == single.bytes + data)
                #expect(rig.engine.inFlight == 0)
                #expect(!rig.engine.prepareToSleep(), "there is something to tell")
                #expect(rig.engine.reap() == 3 && rig.engine.reap() == 0)
                #expect(rig.engine.prepareToSleep())
                for slot in [whole, single, back] { #expect(unsafe rig.completions.pointee.pop() == slot.operation) }
            }
            let past = try rig.slot(size: 8192)
            #expect(unsafe truncate(disk.path, 4096 + 1 << 20 + 4096) == 0)
            past.set(.read, at: 4096 + 1 << 20, pieces: [(0, 8192)])
            #expect(rig.run(past) == -Int64(EIO), "the end of a file that shrank")
            #expect(rig.channel.counters.errors == 1)
        }
    }

    @Test("An operation with more segments than one call takes is done in several", arguments: kernelEngines)
    func manySegments(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.rootFile) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine)
            let slot = try rig.slot(size: 4 << 20)
            let pieces = (0..<2048).map { ($0 * 1024, 512) }
            slot.set(.write, at: 4096, pieces: pieces)
            let data = (0..<2048 * 512).map { UInt8(truncatingIfNeeded: $0 >> 9) }
            slot.bytes = data
            #expect(rig.run(slot) == 1 << 20)
            slot.set(.read, at: 4096, pieces: [(2 << 20, 1 << 20)])
            #expect(rig.run(slot) == 1 << 20)
            #expect(slot.bytes == data)
            #expect(rig.channel.counters.bounced == 0)
        }
    }

    @Test("Cancelling ends what one owner has waiting; what the kernel has ends by itself", arguments: kernelEngines)
    func cancels(engine: EngineChoice.Engine) throws {
        try TestDisk.use(.loop) { disk in
            let backing = try Backing.open(.file(path: disk.path))
            let rig = try Rig(backing, engine, depth: 4)
            let other = UnsafeMutablePointer<IOCompletionList>.allocate(capacity: 1)
            unsafe other.initialize(to: IOCompletionList())
            defer { unsafe other.deallocate() }
            let slots = try (0..<40).map { index in try index % 2 == 0 ? rig.slot(size: 4096) : unsafe Rig.Slot(other, size: 4096) }
            for (index, slot) in slots.enumerated() {
                slot.set(.read, at: UInt64(index) * 4096, pieces: [(0, 4096)])
                unsafe rig.channel.add(slot.operation)
            }
            unsafe rig.channel.cancelWaiting(other)
            var cancelled = 0
            while let operation = unsafe other.pointee.pop() {
                #expect(unsafe operation.pointee.result == -Int64(ECANCELED))
                cancelled += 1
            }
            // Four are in the kernel's queue, two of them the other's.
            #expect(cancelled == 18)
            #expect(unsafe other.pointee.inFlight == 2)
            for _ in 0..<20 {
                let ended = unsafe rig.next()
                #expect(unsafe ended?.pointee.result == 4096)
            }
            let deadline = MonotonicClock.now() + 10_000_000_000
            while unsafe other.pointee.inFlight > 0, MonotonicClock.now() < deadline { _ = rig.engine.reap() }
            #expect(unsafe other.pointee.inFlight == 0)
            #expect(rig.engine.inFlight == 0)
            // The operations' memory: nothing above mentions it after the start, and an optimiser may let go of it there.
            withExtendedLifetime(slots) {}
        }
    }

    @Test("Many threads leave operations in one mailbox, and none is lost")
    func mailbox() throws {
        let mailbox = try SlowMailbox()
        let threadCount = 4
        let perThread = 2000
        let completions = UnsafeMutablePointer<IOCompletionList>.allocate(capacity: 1)
        let segments = UnsafeMutablePointer<IOVector>.allocate(capacity: 1)
        let operations = UnsafeMutablePointer<IOOperation>.allocate(capacity: threadCount * perThread)
        defer {
            unsafe completions.deallocate()
            unsafe segments.deallocate()
            unsafe operations.deallocate()
        }
        unsafe operations.initialize(
            repeating: IOOperation(completions: completions, segments: segments), count: threadCount * perThread)
        let first = UInt(bitPattern: operations)
        let threads = try (0..<threadCount).map { thread in
            try PinnedThread(name: "pusher") {
                let mine = unsafe UnsafeMutablePointer<IOOperation>(bitPattern: first)! + thread * perThread
                for index in 0..<perThread {
                    unsafe mine[index].offset = UInt64(index)
                    unsafe mailbox.push(mine + index)
                }
            }
        }
        var lastSeen = [Int](repeating: -1, count: threadCount)
        var count = 0
        let deadline = MonotonicClock.now() + 20_000_000_000
        while count < threadCount * perThread, MonotonicClock.now() < deadline {
            var taken = mailbox.takeAll()
            while let operation = unsafe taken.pop() {
                let thread = unsafe (operation - operations) / perThread
                // Each pusher's operations come in its order.
                #expect(unsafe Int(operation.pointee.offset) == lastSeen[thread] + 1)
                lastSeen[thread] += 1
                count += 1
            }
        }
        for thread in threads { thread.join() }
        #expect(count == threadCount * perThread)
        #expect(mailbox.isEmpty)
    }
}
