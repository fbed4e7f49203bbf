public import LinuxSystem

/// Memory of the front-end's, mapped here.
///
/// Safety: an address and what keeps it valid; whoever follows the address holds the owner.
@safe
public struct MappedMemory: Sendable {
    /// Where the first byte is.
    public nonisolated(unsafe) var base: UnsafeMutableRawPointer
    /// What unmaps it when the last reference goes.
    public var owner: any Sendable

    /// Names the mapping and its owner.
    public init(base: UnsafeMutableRawPointer, owner: any Sendable) {
        unsafe self.base = unsafe base
        self.owner = owner
    }
}

/// What a session asks of the operating system, so that tests and simulations can put something else in its place.
public protocol SessionHost: AnyObject {
    /// Maps `size` bytes at `offset` of a descriptor that the front-end gave, readable and writable, shared, and untouched.
    func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(Refusal) -> MappedMemory
    /// A new shared memory file of `size` zero bytes whose size nobody can change, for an inflight region.
    func makeSharedMemory(size: UInt64) throws(Refusal) -> FileDescriptor
    /// Refuses a descriptor that cannot carry a kick, a call or an error signal.
    func checkNotifier(_ descriptor: FileDescriptor) throws(Refusal)
    /// Refuses a descriptor that is not a socket, and makes one that is non-blocking.
    func checkSocket(_ descriptor: FileDescriptor) throws(Refusal)
}

/// The host as it is.
public final class LinuxSessionHost: SessionHost {
    /// There is nothing to set.
    public init() {}

    /// Only files have a size that can be checked, and only what lies inside it may be mapped: beyond the end every access is a SIGBUS.
    public func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(Refusal) -> MappedMemory {
        let status = try refuse(.descriptors) { () throws(SystemError) in try descriptor.status() }
        guard status.kind == .regular else {
            throw Refusal(.descriptors, "memory cannot be mapped from a \(status.kind.rawValue); a memory file or a file is needed")
        }
        let (end, overflow) = offset.addingReportingOverflow(size)
        guard !overflow, end <= status.size else {
            throw Refusal(.memory, "\(size) bytes at offset \(offset) are not inside the \(status.size) bytes of the memory file")
        }
        let mapping = try refuse(.memory) { () throws(SystemError) in
            try MemoryMapping(descriptor: descriptor, offset: offset, size: size)
        }
        return unsafe MappedMemory(base: mapping.base, owner: mapping)
    }

    /// The file is sealed against growing and shrinking: the front-end cannot take it away from under us.
    public func makeSharedMemory(size: UInt64) throws(Refusal) -> FileDescriptor {
        try refuse(.memory) { () throws(SystemError) in
            let descriptor = try MemoryFile.create(name: "vhublk-inflight", size: size)
            try MemoryFile.sealSize(descriptor)
            return descriptor
        }
    }

    /// "Either eventfd or pipe/pipe2" (vhost-user specification, "Support for platforms other than Linux"); an eventfd has no file type.
    public func checkNotifier(_ descriptor: FileDescriptor) throws(Refusal) {
        let kind = try refuse(.descriptors) { () throws(SystemError) in try descriptor.status().kind }
        guard kind == .other || kind == .pipe else {
            throw Refusal(.descriptors, "a \(kind.rawValue) cannot notify; an eventfd is needed")
        }
    }

    /// The socket is a channel for us alone, hence its flags are ours to set.
    public func checkSocket(_ descriptor: FileDescriptor) throws(Refusal) {
        let kind = try refuse(.descriptors) { () throws(SystemError) in try descriptor.status().kind }
        guard kind == .socket else { throw Refusal(.descriptors, "the back-end channel needs a socket, not a \(kind.rawValue)") }
        try refuse(.descriptors) { () throws(SystemError) in try descriptor.setNonBlocking(true) }
    }

    private func refuse<Result>(_ code: Refusal.Code, _ body: () throws(SystemError) -> Result) throws(Refusal) -> Result {
        do throws(SystemError) {
            return try body()
        } catch {
            throw Refusal(code, error.description)
        }
    }
}
