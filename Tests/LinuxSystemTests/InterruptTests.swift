import Glibc
import LinuxSystem
import Synchronization
import Testing

/// System calls at descriptors that somebody else may fill or empty.
@Suite("Descriptors of a peer")
struct InterruptTests {
    @Test("A write to a full eventfd that blocks is interrupted, and only in a thread that allows it")
    func interrupt() throws {
        let event = try EventFD()
        try event.descriptor.setNonBlocking(false)
        var full = UInt64.max - 1
        #expect(unsafe write(event.descriptor.rawValue, &full, 8) == 8)
        #expect(!EventFD.takesSignal(raw: event.descriptor.rawValue))
        let outcome = Locked<Bool?>(nil)
        let thread = try PinnedThread(name: "stuck") {
            guard (try? PinnedThread.allowInterrupts()) != nil else { return }
            let wasInterrupted = EventFD.signal(raw: event.descriptor.rawValue)
            outcome.withLock { $0 = wasInterrupted }
        }
        // Whether it waits already cannot be seen: an interrupt that comes too early is lost, as the watch of the pollers knows.
        for _ in 0..<500 where outcome.withLock({ $0 }) == nil {
            usleep(2000)
            thread.interrupt()
        }
        #expect(outcome.withLock { $0 } == true)
        thread.join()
        #expect(event.drain() == UInt64.max - 1, "the full counter stayed as it was")
        #expect(EventFD.takesSignal(raw: event.descriptor.rawValue))
        #expect(!EventFD.signal(raw: event.descriptor.rawValue))
    }

    @Test("Taking signals never waits, whatever the descriptor's flags say")
    func take() throws {
        let event = try EventFD()
        try event.descriptor.setNonBlocking(false)
        event.signal()
        #expect(EventFD.take(raw: event.descriptor.rawValue) == .taken)
        #expect(EventFD.take(raw: event.descriptor.rawValue) == .taken, "nothing there, and no wait for it")
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        let reading = FileDescriptor(owning: ends[0])
        var writing: FileDescriptor? = FileDescriptor(owning: ends[1])
        #expect(EventFD.take(raw: reading.rawValue) == .taken)
        #expect(EventFD.take(raw: ends[1]) == .failed(EBADF))
        var byte: UInt8 = 1
        #expect(unsafe write(ends[1], &byte, 1) == 1)
        #expect(EventFD.take(raw: reading.rawValue) == .taken)
        withExtendedLifetime(writing) {}
        writing = nil
        #expect(EventFD.take(raw: reading.rawValue) == .ended)
    }

    @Test("What a descriptor is, the kernel says without asking its file system")
    func nature() throws {
        #expect(try EventFD().descriptor.nature == .eventFD)
        #expect(try MemoryFile.create(name: "test", size: 1).nature == .memoryFile)
        #expect(try UnixSocket.pair().0.nature == .socket)
        #expect(try Epoll().descriptor.nature == .other("anon_inode:[eventpoll]"))
        #expect(try FileDescriptor.open("/proc/self/maps", flags: O_RDONLY).nature == .path(fileSystem: "proc"))
        #expect(try FileDescriptor.open("/sys", flags: O_RDONLY).nature == .path(fileSystem: "sysfs"))
        var ends: [Int32] = [-1, -1]
        #expect(unsafe pipe(&ends) == 0)
        #expect(FileDescriptor(owning: ends[0]).nature == .pipe)
        #expect(FileDescriptor(owning: ends[1]).nature == .pipe)
    }
}
