import Glibc
import LinuxSystem
import Testing

@testable import BlockIO

/// Rings do what engines do and nothing else, whoever has their memory. That engines need no more is what all other tests of them show.
@Suite struct RestrictionTests {
    /// The ring of an engine as it is in use, bound and enabled by this thread; nil where the kernel has no rings.
    private static func ring() throws -> URingRing? {
        guard URingSupport.refusal() == nil else { return nil }
        var ring = try URingSetup(depth: 4).take()
        ring.bind(pollerCPU: nil)
        try ring.enable()
        return ring
    }

    /// linux/io_uring.h: NOP, POLL_ADD, SENDMSG, RECVMSG, TIMEOUT, ACCEPT, ASYNC_CANCEL, CONNECT, FALLOCATE, OPENAT, CLOSE, STATX, MADVISE,
    /// SEND, OPENAT2, EPOLL_CTL, SPLICE, PROVIDE_BUFFERS, RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT, MSG_RING, SETXATTR, SOCKET,
    /// URING_CMD.
    private static let foreign: [UInt8] = [
        0, 6, 9, 10, 11, 13, 14, 16, 17, 18, 19, 21, 25, 26, 28, 29, 30, 31, 35, 36, 37, 38, 39, 40, 42, 45, 46,
    ]

    @Test("A ring refuses every operation that no engine makes")
    func operations() throws {
        guard let ring = try Self.ring() else { return }
        defer { ring.destroy() }
        #expect(ring.isRestricted)
        for operation in Self.foreign { #expect(ring.answer(to: operation) == -EACCES, "operation \(operation)") }
        // What it may do it tries, and finds no file.
        for operation in URingRestriction.operations {
            #expect(ring.answer(to: operation) == -EBADF, "operation \(operation)")
        }
        // READ, with IOSQE_IO_DRAIN, IO_LINK, IO_HARDLINK, ASYNC and BUFFER_SELECT.
        for bit in 1...5 as ClosedRange<UInt8> { #expect(ring.answer(to: 22, flags: 1 << bit) == -EACCES, "flag \(bit)") }
    }

    @Test("A ring in use registers files and memory, and nothing else")
    func registrations() throws {
        guard let ring = try Self.ring() else { return }
        defer { ring.destroy() }
        // io_uring_register(2): BUFFERS, FILES, EVENTFD, PROBE, PERSONALITY, RESTRICTIONS, ENABLE_RINGS, IOWQ_AFF, RING_FDS, PBUF_RING.
        for number in [0, 2, 4, 8, 9, 11, 12, 17, 20, 22] as [UInt32] {
            #expect(ring.answer(toRegistration: number) == -EACCES, "registration \(number)")
        }
        for number in URingRestriction.registrations {
            #expect(ring.answer(toRegistration: UInt32(number)) != -EACCES, "registration \(number)")
        }
    }

    @Test("A ring that is made on one thread serves the one that starts it")
    func handedOver() throws {
        guard URingSupport.refusal() == nil else { return }
        let setup = try URingSetup(depth: 4)
        let mode = Locked("")
        let thread = try PinnedThread(name: "user") {
            let engine = try? URingEngine(setup)
            mode.withLock { $0 = engine?.mode ?? "" }
        }
        thread.join()
        #expect(mode.withLock { $0 }.hasSuffix("restricted"))
        // One that nobody takes is given back.
        _ = try URingSetup(depth: 4, node: 0)
    }

    @Test("A ring that nobody enabled takes nothing")
    func disabled() throws {
        guard URingSupport.refusal() == nil else { return }
        let ring = try URingSetup(depth: 4).take()
        defer { ring.destroy() }
        #expect(ring.answer(to: 0) == -EBADFD)
    }

    @Test("The daemon's probe finds what is active")
    func probe() {
        #expect(URingSupport.refusal() != nil || URingSupport.restriction() == .active)
    }
}
