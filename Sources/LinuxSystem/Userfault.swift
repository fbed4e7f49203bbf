import CLinux
import Glibc

/// A userfaultfd: threads that touch a missing page of a registered mapping wait until whoever has the descriptor brings it.
///
/// Only threads in user mode wait. The kernel's own accesses to a missing page, on behalf of I/O, end with EFAULT: so that nothing ever waits
/// inside the kernel for a peer, and no privilege is needed (userfaultfd(2), UFFD_USER_MODE_ONLY).
///
/// Any thread may use it.
public struct Userfault: Sendable {
    /// The descriptor; readable when an access waits that nobody was told of.
    public let descriptor: FileDescriptor

    /// A new one, without mappings. Fails with EPERM where a sandbox forbids it, and with EINVAL before Linux 5.11.
    public init() throws(SystemError) {
        descriptor = FileDescriptor(owning: try SystemError.check(clinux_userfault_open(), "create a userfaultfd"))
    }

    /// The descriptor of another process, for whose memory pages are to be brought.
    public init(adopting descriptor: FileDescriptor) { self.descriptor = descriptor }

    /// Missing pages of a mapping of a memory file are waited for from now on. The mapping must be gone, or ``unregister(_:)`` called, before the
    /// descriptor is closed everywhere: who waits goes on with zeroes then.
    public func register(_ mapping: MemoryMapping) throws(SystemError) { try mapping.beginWaiting(self) }

    /// Missing pages of the mapping are zero pages again; who waits goes on.
    public func unregister(_ mapping: MemoryMapping) throws(SystemError) { try mapping.endWaiting(self) }

    /// Who waits in this range, by addresses of the process that made the descriptor, looks again whether its page is there.
    public func wake(address: UInt64, count: Int) throws(SystemError) {
        try SystemError.check(
            unsafe clinux_userfault_wake(descriptor.rawValue, UnsafeMutableRawPointer(bitPattern: UInt(address)), count),
            "wake who waits for a page")
    }

    func register(_ base: UnsafeMutableRawPointer, _ size: Int) throws(SystemError) {
        // No huge page may be put together around a page that is missing. Kernels without such pages refuse, and need it not.
        _ = unsafe madvise(base, size, MADV_NOHUGEPAGE)
        try SystemError.check(
            unsafe clinux_userfault_register(descriptor.rawValue, base, size), "wait for the pages of \(size) bytes of memory")
    }

    func unregister(_ base: UnsafeMutableRawPointer, _ size: Int) throws(SystemError) {
        try SystemError.check(unsafe clinux_userfault_unregister(descriptor.rawValue, base, size), "end waiting for pages")
    }

    func wake(_ base: UnsafeMutableRawPointer, _ size: Int) throws(SystemError) {
        try SystemError.check(unsafe clinux_userfault_wake(descriptor.rawValue, base, size), "wake who waits for a page")
    }

    /// The address, in the process that made the descriptor, of an access that waits, each told once; nil when there is no other now.
    public func next() throws(SystemError) -> UInt64? {
        var address: UInt64 = 0
        let count = try SystemError.check(unsafe clinux_userfault_next(descriptor.rawValue, &address), "read a page fault")
        return count == 1 ? address : nil
    }

    /// Brings whole pages to `address` of the process that made the descriptor, and wakes who waits for them. Fails with EEXIST where a page
    /// is there already, with ENOENT where nothing is registered.
    public func copy(_ pages: UnsafeRawBufferPointer, to address: UInt64) throws(SystemError) {
        try SystemError.check(
            unsafe clinux_userfault_copy(descriptor.rawValue, address, pages.baseAddress, pages.count), "bring a page")
    }
}
