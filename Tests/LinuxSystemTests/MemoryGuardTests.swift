import Glibc
import LinuxSystem
import Synchronization
import Testing

/// Files that get shorter under their mappings. In processes of their own: SIGBUS is the process's, and so is the table of guards.
@Suite("Guarded mappings")
struct MemoryGuardTests {
    static let pageCount = 4
    static var size: UInt64 { UInt64(pageCount * PageSize.bytes) }

    /// A file and its mapping, filled with 1s.
    static func mapped(_ owner: UInt64?) throws -> (file: FileDescriptor, mapping: MemoryMapping) {
        let file = try MemoryFile.create(name: "guarded", size: size)
        let mapping = try MemoryMapping(descriptor: file, offset: 0, size: size, guardedFor: owner)
        unsafe UnsafeMutableRawBufferPointer(start: mapping.base, count: mapping.size).initializeMemory(as: UInt8.self, repeating: 1)
        return (file, mapping)
    }

    static func byte(_ mapping: MemoryMapping, page: Int) -> UInt8 {
        unsafe mapping.base.load(fromByteOffset: page * PageSize.bytes, as: UInt8.self)
    }

    @Test("A page that is gone reads as zero, can be written, and its owner is told once")
    func truncated() async {
        await #expect(processExitsWith: .success) {
            let event = try MemoryGuard.lossEvent()
            let (other, untouched) = try MemoryGuardTests.mapped(8)
            let (file, mapping) = try MemoryGuardTests.mapped(7)
            try file.truncate(to: UInt64(PageSize.bytes))
            precondition(MemoryGuardTests.byte(mapping, page: 0) == 1, "what is left is left alone until a lost page is touched")
            precondition(MemoryGuard.takeLost().isEmpty && event.drain() == 0)
            precondition(MemoryGuardTests.byte(mapping, page: 2) == 0)
            precondition(event.drain() == 1 && MemoryGuard.takeLost() == [7] && MemoryGuard.takeLost().isEmpty)
            for page in 0..<MemoryGuardTests.pageCount {
                precondition(MemoryGuardTests.byte(mapping, page: page) == 0)
                unsafe mapping.base.storeBytes(of: 9, toByteOffset: page * PageSize.bytes, as: UInt8.self)
            }
            precondition(event.drain() == 0, "once")
            precondition(MemoryGuardTests.byte(untouched, page: 3) == 1)
            withExtendedLifetime(other) {}
        }
    }

    @Test("A mapping that begins inside a page is guarded as a whole, and one that went no longer is")
    func offsets() async {
        await #expect(processExitsWith: .success) {
            let file = try MemoryFile.create(name: "guarded", size: MemoryGuardTests.size)
            var mapping: MemoryMapping? = try MemoryMapping(descriptor: file, offset: 5000, size: 5000, guardedFor: 1)
            try file.truncate(to: 0)
            precondition(unsafe mapping!.base.load(fromByteOffset: 4999, as: UInt8.self) == 0)
            mapping = nil
            precondition(MemoryGuard.takeLost().isEmpty, "whoever unmapped it need not be told")
            // The next one takes the guard's place.
            let (next, again) = try MemoryGuardTests.mapped(2)
            try next.truncate(to: 0)
            precondition(MemoryGuardTests.byte(again, page: 1) == 0 && MemoryGuard.takeLost() == [2])
        }
    }

    @Test("SIGBUS anywhere else ends the process as ever, and so does one that was sent")
    func elsewhere() async {
        await #expect(processExitsWith: .signal(SIGBUS)) {
            let (_, guarded) = try MemoryGuardTests.mapped(1)
            let (file, mapping) = try MemoryGuardTests.mapped(nil)
            try file.truncate(to: 0)
            precondition(MemoryGuardTests.byte(mapping, page: 0) == 0)
            withExtendedLifetime(guarded) {}
        }
        await #expect(processExitsWith: .signal(SIGBUS)) {
            let (_, guarded) = try MemoryGuardTests.mapped(1)
            kill(getpid(), SIGBUS)
            sleep(5)
            withExtendedLifetime(guarded) {}
        }
    }

    @Test("Many mappings are lost and taken away on many threads at once, each told to its owner")
    func churn() async {
        await #expect(processExitsWith: .success) {
            let threads = 6
            let rounds = 2000
            let failures = Atomic<Int>(0)
            let (steady, bystander) = try MemoryGuardTests.mapped(99)
            let workers = try (0..<threads).map { number in
                try PinnedThread(name: "churn-\(number)") {
                    for _ in 0..<rounds {
                        guard let (file, mapping) = try? MemoryGuardTests.mapped(UInt64(number)) else { return }
                        guard (try? file.truncate(to: 0)) != nil else { return }
                        let sum = (0..<MemoryGuardTests.pageCount).reduce(0) { $0 + Int(MemoryGuardTests.byte(mapping, page: $1)) }
                        if sum != 0 { failures.wrappingAdd(1, ordering: .relaxed) }
                        _ = MemoryGuard.takeLost()
                    }
                }
            }
            for worker in workers { worker.join() }
            precondition(failures.load(ordering: .relaxed) == 0)
            for page in 0..<MemoryGuardTests.pageCount { precondition(MemoryGuardTests.byte(bystander, page: page) == 1) }
            precondition(!MemoryGuard.takeLost().contains(99))
            withExtendedLifetime(steady) {}
        }
    }

    @Test("Two threads that touch one lost mapping at once both go on")
    func together() async {
        await #expect(processExitsWith: .success) {
            for _ in 0..<300 {
                let (file, mapping) = try MemoryGuardTests.mapped(5)
                try file.truncate(to: 0)
                let workers = try (0..<MemoryGuardTests.pageCount).map { page in
                    try PinnedThread(name: "touch-\(page)") { precondition(MemoryGuardTests.byte(mapping, page: page) == 0) }
                }
                for worker in workers { worker.join() }
                precondition(MemoryGuard.takeLost() == [5], "told once")
            }
        }
    }

    @Test("Guards are given back: a hundred thousand one after the other")
    func reuse() async {
        await #expect(processExitsWith: .success) {
            let file = try MemoryFile.create(name: "guarded", size: MemoryGuardTests.size)
            for _ in 0..<100_000 {
                _ = try MemoryMapping(descriptor: file, offset: 0, size: MemoryGuardTests.size, guardedFor: 1)
            }
        }
    }
}
