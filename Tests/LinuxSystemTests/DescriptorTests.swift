import Glibc
import LinuxSystem
import Testing

@Suite("Descriptors, events and memory")
struct DescriptorTests {
    @Test("An error reads as what was tried, why not, and the errno's name")
    func errorText() {
        #expect(SystemError("open /x", errno: -EACCES).description == "open /x: Permission denied (EACCES)")
        #expect(SystemError("open /x", errno: 4000).description == "open /x: unknown error 4000 (errno 4000)")
    }

    @Test("A descriptor is closed once, with its last reference")
    func closes() throws {
        var descriptor: FileDescriptor? = try MemoryFile.create(name: "test", size: 4096)
        let number = try #require(descriptor).rawValue
        let copy = try #require(try descriptor?.duplicate())
        #expect(fcntl(number, F_GETFD) >= 0)
        descriptor = nil
        // Another test may have been given the number meanwhile, but not for the same memory file.
        #expect((try? FileDescriptorIdentity.inode(number)) != (try copy.status().inode))
    }

    @Test("An eventfd counts, drains, and never waits when it is full")
    func eventfd() throws {
        let event = try EventFD()
        event.signal()
        event.signal()
        #expect(event.drain() == 2)
        #expect(event.drain() == 0)
        var full = UInt64.max - 1
        #expect(unsafe write(event.descriptor.rawValue, &full, 8) == 8)
        event.signal()
        #expect(event.drain() == UInt64.max - 1)
    }

    @Test("A mapping of a file starts at any offset and shows what the file holds")
    func mapping() throws {
        let file = try MemoryFile.create(name: "test", size: 20000)
        var bytes: [UInt8] = (0..<20000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        #expect(unsafe pwrite(file.rawValue, &bytes, bytes.count, 0) == bytes.count)
        let mapping = try MemoryMapping(descriptor: file, offset: 5001, size: 9000)
        #expect(unsafe Array(UnsafeRawBufferPointer(start: mapping.base, count: mapping.size)) == Array(bytes[5001..<14001]))
        unsafe mapping.base.storeBytes(of: 99, as: UInt8.self)
        var changed: UInt8 = 0
        #expect(unsafe pread(file.rawValue, &changed, 1, 5001) == 1 && changed == 99)
    }

    private static let badMappings: [(offset: UInt64, size: UInt64)] = [(0, 0), (0, .max), (.max, 1), (.max - 4095, 8192)]

    @Test("Mappings of nothing, or past the end of numbers, are refused", arguments: badMappings)
    func badMapping(offset: UInt64, size: UInt64) throws {
        let file = try MemoryFile.create(name: "test", size: 4096)
        #expect(throws: SystemError.self) { _ = try MemoryMapping(descriptor: file, offset: offset, size: size) }
    }

    @Test("A sealed memory file keeps its size")
    func seals() throws {
        let file = try MemoryFile.create(name: "test", size: 4096)
        try MemoryFile.sealSize(file)
        #expect(throws: SystemError.self) { try file.truncate(to: 0) }
        #expect(try file.status().size == 4096)
    }

    @Test("epoll reports tokens and events, and returns when the time is over")
    func epoll() throws {
        // The C shim fills Swift's array in place: two 64-bit words each.
        #expect(MemoryLayout<Epoll.Ready>.size == 16 && MemoryLayout<Epoll.Ready>.offset(of: \.bits) == 8)
        let epoll = try Epoll()
        let event = try EventFD()
        try epoll.add(event.descriptor.rawValue, .readable, token: 0xfedc_ba98_7654_3210)
        var ready = [Epoll.Ready](repeating: Epoll.Ready(), count: 4)
        let start = MonotonicClock.now()
        #expect(unsafe ready.withUnsafeMutableBufferPointer { unsafe epoll.wait(into: $0, timeoutNanoseconds: 300_000) } == 0)
        #expect(MonotonicClock.now() - start >= 300_000)
        event.signal()
        #expect(unsafe ready.withUnsafeMutableBufferPointer { unsafe epoll.wait(into: $0, timeoutNanoseconds: -1) } == 1)
        #expect(ready[0].token == 0xfedc_ba98_7654_3210)
        #expect(ready[0].events == .readable)
        epoll.remove(event.descriptor.rawValue)
        #expect(unsafe ready.withUnsafeMutableBufferPointer { unsafe epoll.wait(into: $0, timeoutNanoseconds: 0) } == 0)
    }

    @Test("A device's numbers are taken apart as Linux packs them")
    func deviceNumbers() throws {
        let null = try FileDescriptor.open("/dev/null", flags: O_RDWR).status()
        #expect(null.kind == .characterDevice)
        #expect(null.representedNumbers == (1, 3))
    }
}

private enum FileDescriptorIdentity {
    static func inode(_ number: Int32) throws -> UInt64 {
        var status = stat()
        guard unsafe fstat(number, &status) == 0 else { throw SystemError("stat", errno: errno) }
        return UInt64(status.st_ino)
    }
}
