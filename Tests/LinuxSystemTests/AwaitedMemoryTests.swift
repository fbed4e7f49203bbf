import Glibc
import Testing

@testable import LinuxSystem

/// Memory whose pages come later, or never.
@Suite struct AwaitedMemoryTests {
    private static let pageSize = 4096

    /// Four pages: the first is there, the others are missing.
    private static func with(
        _ body: (AwaitedMemory, MemoryMapping, FileDescriptor) throws -> Void
    ) throws {
        let file = try MemoryFile.create(name: "awaited", size: UInt64(4 * pageSize))
        let first = [UInt8](repeating: 0xa1, count: pageSize)
        #expect(unsafe pwrite(file.rawValue, first, first.count, 0) == first.count)
        let awaited = try AwaitedMemory()
        let mapping = try MemoryMapping(
            descriptor: file, offset: 0, size: UInt64(4 * pageSize), guardedFor: .max, awaited: awaited)
        try body(awaited, mapping, file)
    }

    private static func byte(_ mapping: MemoryMapping, page: Int) -> UInt8 {
        unsafe mapping.base.load(fromByteOffset: page * pageSize, as: UInt8.self)
    }

    /// The address of the next fault, once there is one.
    private static func fault(_ awaited: AwaitedMemory) throws -> UInt64? {
        _ = try awaited.descriptor.wait(for: .readable, nanoseconds: 5_000_000_000)
        return try awaited.faults.next()
    }

    /// Where the first hole is: SEEK_HOLE, which glibc shows to _GNU_SOURCE only.
    private static func holes(_ file: FileDescriptor) -> Int64 { Int64(lseek(file.rawValue, 0, 4)) }

    @Test func whoTouchesAMissingPageWaitsForIt() throws {
        try Self.with { awaited, mapping, _ in
            let base = unsafe UInt64(UInt(bitPattern: mapping.base))
            #expect(unsafe awaited.touch(mapping.base, Self.pageSize), "what is there is not waited for")
            let result = Locked<(Bool, UInt8)?>(nil)
            let thread = try PinnedThread(name: "touch") {
                let isThere = unsafe awaited.touch(mapping.base + 100, Self.pageSize)
                let value = Self.byte(mapping, page: 1)
                result.withLock { $0 = (isThere, value) }
            }
            #expect(try Self.fault(awaited) == base + UInt64(Self.pageSize))
            #expect(result.withLock { $0 == nil })
            // Looks again, and waits again.
            awaited.wake()
            #expect(try Self.fault(awaited) == base + UInt64(Self.pageSize))
            let page = [UInt8](repeating: 0xb2, count: Self.pageSize)
            try unsafe page.withUnsafeBytes { try unsafe awaited.faults.copy($0, to: base + UInt64(Self.pageSize)) }
            thread.join()
            let seen = try #require(result.withLock { $0 })
            #expect(seen.0 && seen.1 == 0xb2)
        }
    }

    @Test func memoryThatHasArrivedIsWaitedForNoMore() throws {
        try Self.with { awaited, mapping, _ in
            let value = Locked<UInt8?>(nil)
            let thread = try PinnedThread(name: "touch") {
                let byte = Self.byte(mapping, page: 2)
                value.withLock { $0 = byte }
            }
            _ = try Self.fault(awaited)
            try awaited.arrived()
            thread.join()
            #expect(value.withLock { $0 } == 0)
            #expect(Self.byte(mapping, page: 3) == 0 && Self.byte(mapping, page: 0) == 0xa1)
            #expect(unsafe awaited.touch(mapping.base, 4 * Self.pageSize))
        }
    }

    /// What never comes is told from what is zero, the kernel gets none of it, and the peer's memory stays as it was.
    @Test func withdrawnMemoryIsNotTakenForZeroes() throws {
        try Self.with { awaited, mapping, file in
            let isThere = Locked<Bool?>(nil)
            let thread = try PinnedThread(name: "touch") {
                let answer = unsafe awaited.touch(mapping.base + Self.pageSize, 1)
                isThere.withLock { $0 = answer }
            }
            _ = try Self.fault(awaited)
            #expect(!awaited.isWithdrawn)
            awaited.withdraw()
            thread.join()
            #expect(isThere.withLock { $0 } == false)
            #expect(awaited.isWithdrawn)
            #expect(unsafe !awaited.touch(mapping.base, 1), "not even of what is there")
            let sink = try MemoryFile.create(name: "sink", size: 0)
            #expect(unsafe write(sink.rawValue, mapping.base + 3 * Self.pageSize, 16) == -1 && errno == EFAULT)
            // A thread may still finish what it does: with what was there, and without changing it for others.
            #expect(Self.byte(mapping, page: 0) == 0xa1 && Self.byte(mapping, page: 3) == 0)
            unsafe mapping.base.storeBytes(of: 0xff, as: UInt8.self)
            unsafe (mapping.base + 3 * Self.pageSize).storeBytes(of: 0xff, as: UInt8.self)
            #expect(Self.byte(mapping, page: 0) == 0xff && Self.byte(mapping, page: 3) == 0xff)
            var first: UInt8 = 0
            #expect(unsafe pread(file.rawValue, &first, 1, 0) == 1 && first == 0xa1)
            #expect(Self.holes(file) == Int64(Self.pageSize), "no page was made in the file")
            awaited.withdraw()
        }
    }

    /// Mappings of this process in a part of it.
    private static func mappingCount(_ mapping: MemoryMapping) throws -> Int {
        let base = unsafe UInt(bitPattern: mapping.base)
        let lines = try #require(SystemFile.text("/proc/self/maps")).split(separator: "\n")
        return lines.count { line in
            guard let start = UInt(line.prefix { $0 != "-" }, radix: 16) else { return false }
            return start >= base && start < base + UInt(mapping.size)
        }
    }

    /// A process has 65530 mappings, and a peer may give memory that is all holes.
    @Test func withdrawnMemoryTakesFewMappings() throws {
        let size = 64 << 20
        let file = try MemoryFile.create(name: "awaited", size: UInt64(size))
        let awaited = try AwaitedMemory()
        let mapping = try MemoryMapping(descriptor: file, offset: 0, size: UInt64(size), guardedFor: .max, awaited: awaited)
        let isThere = Locked<Bool?>(nil)
        let thread = try PinnedThread(name: "touch") {
            let answer = unsafe awaited.touch(mapping.base, size)
            isThere.withLock { $0 = answer }
        }
        _ = try Self.fault(awaited)
        awaited.withdraw()
        thread.join()
        #expect(isThere.withLock { $0 } == false)
        #expect(try Self.mappingCount(mapping) <= 3, "who waited for the first page goes no further")
    }

    /// The kernel waits for nobody: a transfer of a missing page is an error at once.
    @Test func theKernelDoesNotWait() throws {
        try Self.with { _, mapping, file in
            let sink = try MemoryFile.create(name: "sink", size: 0)
            #expect(unsafe write(sink.rawValue, mapping.base + Self.pageSize, 16) == -1 && errno == EFAULT)
            #expect(unsafe write(sink.rawValue, mapping.base, 16) == 16)
            #expect(Self.holes(file) == Int64(Self.pageSize))
        }
    }

    @Test func onlyMemoryFilesCanBeAwaited() throws {
        let awaited = try AwaitedMemory()
        let file = try FileDescriptor.open("/proc/self/exe", flags: O_RDONLY)
        #expect(throws: SystemError.self) {
            _ = try MemoryMapping(descriptor: file, offset: 0, size: 4096, writable: false, guardedFor: .max, awaited: awaited)
        }
    }

    /// A sandbox without the call, as a container's, is told as the reason.
    @Test func theReasonIsToldWhereItIsForbidden() throws {
        #expect(AwaitedMemory.unavailability == nil)
        let reason = Locked<String?>(nil)
        let thread = try PinnedThread(name: "filtered") {
            try? ProcessSelf.forbidNewPrivileges()
            let rules = SystemCallLists.rules(for: .process).filter { $0.name != "userfaultfd" }
            let filter = SystemCallFilter(allowing: rules, otherwise: .errno(SystemError.notPermitted))
            try? filter.install(inAllThreads: false, isLogged: false)
            let text = AwaitedMemory.reasonUnavailable()
            reason.withLock { $0 = text }
        }
        thread.join()
        #expect(try #require(reason.withLock { $0 }).contains("EPERM"))
    }

    /// The daemon's own lists allow it on the control thread, and nowhere else.
    @Test func theFiltersAllowIt() throws {
        for role in SystemCallLists.Role.allCases {
            let works = Locked<Bool?>(nil)
            let thread = try PinnedThread(name: "filtered") {
                try? ProcessSelf.forbidNewPrivileges()
                try? ThreadFilters.filter(role, .refuse).install(inAllThreads: false, isLogged: false)
                let answer =
                    (try? Self.with { awaited, mapping, _ in
                        try awaited.arrived()
                        awaited.wake()
                        awaited.withdraw()
                        _ = mapping.size
                    }) != nil
                works.withLock { $0 = answer }
            }
            thread.join()
            #expect(works.withLock { $0 } == (role == .process), "\(role)")
        }
    }
}
