public import LinuxSystem
import Synchronization

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

/// A piece of memory that a host mapped.
///
/// Safety: an address in a mapping that the owner keeps.
@safe
public struct MappedPiece: Sendable {
    /// Where the first byte is.
    public nonisolated(unsafe) var base: UnsafeMutableRawPointer
    /// Its length in bytes.
    public var count: Int
    /// The mapping that it is a piece of.
    public var mapping: MappedMemory

    /// Names a piece; it has to lie in the mapping.
    public init(base: UnsafeMutableRawPointer, count: Int, of mapping: MappedMemory) {
        unsafe self.base = unsafe base
        self.count = count
        self.mapping = mapping
    }
}

/// What a session asks of the operating system, so that tests and simulations can put something else in its place.
public protocol SessionHost: AnyObject {
    /// Maps `size` bytes at `offset` of a descriptor that the front-end gave, readable and writable, shared, and untouched.
    func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(Refusal) -> MappedMemory
    /// Maps the same, whose pages may be missing yet: who touches one waits for it.
    func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64, awaited: AwaitedMemory) throws(Refusal) -> MappedMemory
    /// Maps pieces of memory that it mapped before once more, side by side in their order.
    func join(_ pieces: [MappedPiece]) throws(Refusal) -> MappedMemory
    /// What waits for pages that come later.
    func makeAwaitedMemory() throws(Refusal) -> AwaitedMemory
    /// A new shared memory file of `size` zero bytes whose size nobody can change, for an inflight region.
    func makeSharedMemory(size: UInt64) throws(Refusal) -> FileDescriptor
    /// Refuses a descriptor that cannot carry a kick, a call or an error signal.
    func checkNotifier(_ descriptor: FileDescriptor) throws(Refusal)
    /// A new, non-blocking eventfd, for notifications that do not come as a descriptor of the front-end's.
    func makeNotifier() throws(Refusal) -> FileDescriptor
    /// Whether such a descriptor was signalled since the last time.
    func takeSignals(_ notifier: FileDescriptor) -> Bool
    /// Refuses a descriptor that is not a socket, and makes one that is non-blocking.
    func checkSocket(_ descriptor: FileDescriptor) throws(Refusal)
    /// Refuses a descriptor that is no stream of bytes between two sides, and makes one that is non-blocking.
    func checkChannel(_ descriptor: FileDescriptor) throws(Refusal)
}

extension SessionHost {
    /// Waits for nothing.
    public func map(
        _ descriptor: FileDescriptor, offset: UInt64, size: UInt64, awaited: AwaitedMemory
    ) throws(Refusal) -> MappedMemory {
        throw Refusal(.unsupported, "this host cannot wait for pages")
    }

    /// Joins nothing.
    public func join(_ pieces: [MappedPiece]) throws(Refusal) -> MappedMemory {
        throw Refusal(.unsupported, "this host cannot map memory twice")
    }

    /// The operating system's.
    public func makeAwaitedMemory() throws(Refusal) -> AwaitedMemory {
        do throws(SystemError) {
            return try AwaitedMemory()
        } catch {
            throw Refusal(.limit, error.description)
        }
    }

    /// An eventfd of the operating system's.
    public func makeNotifier() throws(Refusal) -> FileDescriptor {
        do throws(SystemError) {
            return try EventFD().descriptor
        } catch {
            throw Refusal(.limit, error.description)
        }
    }

    /// Reads the eventfd's counter.
    public func takeSignals(_ notifier: FileDescriptor) -> Bool { EventFD(adopting: notifier).drain() > 0 }
}

/// The host as it is.
public final class LinuxSessionHost: SessionHost {
    /// The number under which ``MemoryGuard`` tells that memory which this host mapped was lost; no two hosts have the same.
    public let memoryOwner: UInt64

    private static let nextOwner = Atomic<UInt64>(1)
    /// File systems that ask somebody, over a network or in user space, before they answer: touching their memory may take for ever.
    private static let remoteFileSystems: Set<String> = ["9p", "afs", "ceph", "cifs", "nfs", "nfs4", "smb3", "virtiofs"]

    /// A host for one session.
    public init() {
        memoryOwner = Self.nextOwner.wrappingAdd(1, ordering: .relaxed).oldValue
    }

    /// Only files have a size that can be checked, and only what lies inside it may be mapped: beyond the end every access is a SIGBUS. The
    /// front-end can still shorten the file later, hence the guard.
    public func map(_ descriptor: FileDescriptor, offset: UInt64, size: UInt64) throws(Refusal) -> MappedMemory {
        try mapFile(descriptor, offset: offset, size: size, awaited: nil)
    }

    /// Only memory files have pages that somebody else can bring.
    public func map(
        _ descriptor: FileDescriptor, offset: UInt64, size: UInt64, awaited: AwaitedMemory
    ) throws(Refusal) -> MappedMemory {
        try mapFile(descriptor, offset: offset, size: size, awaited: awaited)
    }

    private func mapFile(
        _ descriptor: FileDescriptor, offset: UInt64, size: UInt64, awaited: AwaitedMemory?
    ) throws(Refusal) -> MappedMemory {
        try refuseRemote(descriptor)
        let status = try refuse(.descriptors) { () throws(SystemError) in try descriptor.status() }
        guard status.kind == .regular else {
            throw Refusal(.descriptors, "memory cannot be mapped from a \(status.kind.rawValue); a memory file or a file is needed")
        }
        let (end, overflow) = offset.addingReportingOverflow(size)
        guard !overflow, end <= status.size else {
            throw Refusal(.memory, "\(size) bytes at offset \(offset) are not inside the \(status.size) bytes of the memory file")
        }
        let mapping = try refuse(.memory) { () throws(SystemError) in
            try MemoryMapping(descriptor: descriptor, offset: offset, size: size, guardedFor: memoryOwner, awaited: awaited)
        }
        return unsafe MappedMemory(base: mapping.base, owner: mapping)
    }

    /// The kernel maps whole pages: pieces have to meet at page boundaries of their files. Those of huge pages never do.
    public func join(_ pieces: [MappedPiece]) throws(Refusal) -> MappedMemory {
        let parts = pieces.compactMap { piece -> MemoryMapping.Part? in
            guard let mapping = piece.mapping.owner as? MemoryMapping else { return nil }
            return unsafe MemoryMapping.Part(of: mapping, offset: piece.base - mapping.base, size: piece.count)
        }
        guard parts.count == pieces.count else { throw Refusal(.memory, "memory of another host") }
        let mapping = try refuse(.memory) { () throws(SystemError) in try MemoryMapping(joining: parts, guardedFor: memoryOwner) }
        return unsafe MappedMemory(base: mapping.base, owner: mapping)
    }

    /// Whose pages come from a server, a poller would wait for; the front-end may be that server (FUSE).
    private func refuseRemote(_ descriptor: FileDescriptor) throws(Refusal) {
        guard case .path(let type) = descriptor.nature else { return }
        let advice = "share a memfd, or a file on tmpfs, hugetlbfs or a local file system"
        guard let type else { throw Refusal(.descriptors, "memory from a mount that this process does not see; \(advice)") }
        if Self.remoteFileSystems.contains(type) || type.hasPrefix("fuse") {
            throw Refusal(.descriptors, "memory from a file on \(type), which may not answer; \(advice)")
        }
    }

    /// The file is sealed against growing and shrinking: the front-end cannot take it away from under us.
    public func makeSharedMemory(size: UInt64) throws(Refusal) -> FileDescriptor {
        try refuse(.memory) { () throws(SystemError) in
            let descriptor = try MemoryFile.create(name: "vhublk-inflight", size: size)
            try MemoryFile.sealSize(descriptor)
            return descriptor
        }
    }

    /// "Either eventfd or pipe/pipe2" (vhost-user specification, "Support for platforms other than Linux").
    public func checkNotifier(_ descriptor: FileDescriptor) throws(Refusal) {
        switch descriptor.nature {
        case .eventFD, .pipe: return
        case .unknown: try require(descriptor, [.other, .pipe], "cannot notify; an eventfd is needed")
        case let nature: throw Refusal(.descriptors, "\(Self.name(nature)) cannot notify; an eventfd is needed")
        }
    }

    /// The socket is a channel for us alone, hence its flags are ours to set.
    public func checkSocket(_ descriptor: FileDescriptor) throws(Refusal) {
        switch descriptor.nature {
        case .socket: break
        case .unknown: try require(descriptor, [.socket], "cannot be the back-end channel; a socket is needed")
        case let nature: throw Refusal(.descriptors, "\(Self.name(nature)) cannot be the back-end channel; a socket is needed")
        }
        try refuse(.descriptors) { () throws(SystemError) in try descriptor.setNonBlocking(true) }
    }

    private func require(_ descriptor: FileDescriptor, _ kinds: [FileStatus.Kind], _ otherwise: String) throws(Refusal) {
        let kind = try refuse(.descriptors) { () throws(SystemError) in try descriptor.status().kind }
        guard kinds.contains(kind) else { throw Refusal(.descriptors, "a \(kind.rawValue) \(otherwise)") }
    }

    private static func name(_ nature: FileDescriptor.Nature) -> String {
        switch nature {
        case .eventFD: "an eventfd"
        case .pipe: "a pipe"
        case .socket: "a socket"
        case .memoryFile: "a memory file"
        case .path: "a file"
        case .other(let name): name
        case .unknown: "something unknown"
        }
    }

    /// A file could be written too, but writing one may wait for a disk, and asking what it is for its file system.
    public func checkChannel(_ descriptor: FileDescriptor) throws(Refusal) {
        let needed = "a device's state goes through a pipe or a socket"
        switch descriptor.nature {
        case .pipe, .socket: break
        case .unknown: try require(descriptor, [.pipe, .socket], "is no channel; \(needed)")
        case let nature: throw Refusal(.descriptors, "\(Self.name(nature)) is no channel; \(needed)")
        }
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
