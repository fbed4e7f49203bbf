import Glibc
import LinuxSystem

/// File descriptors of all kinds that a front-end may send, made when they are first wanted.
final class FuzzDescriptors {
    enum Kind: CaseIterable {
        /// A memory file with room for the rings.
        case memory
        /// One of a page.
        case shortMemory
        case emptyMemory
        /// The large one, opened for reading only.
        case readOnlyMemory
        case event
        case pipe
        case socket
        case directory
        case device
    }

    static let memoryBytes: UInt64 = 1 << 20
    private var made: [Kind: FileDescriptor] = [:]
    /// The other ends, which keep pipes and sockets alive.
    private var partners: [FileDescriptor] = []
    /// The front-end's end of the socket that was sent.
    private(set) var channel: FileDescriptor?

    func descriptor(_ kind: Kind) throws(FuzzFailure) -> FileDescriptor {
        if let descriptor = made[kind] { return descriptor }
        do throws(SystemError) {
            let descriptor = try make(kind)
            made[kind] = descriptor
            return descriptor
        } catch {
            throw FuzzFailure("the fuzzer has no \(kind): \(error)")
        }
    }

    private func make(_ kind: Kind) throws(SystemError) -> FileDescriptor {
        switch kind {
        case .memory: return try MemoryFile.create(name: "fuzz", size: Self.memoryBytes)
        case .shortMemory: return try MemoryFile.create(name: "fuzz", size: 4096)
        case .emptyMemory: return try MemoryFile.create(name: "fuzz", size: 0)
        case .readOnlyMemory:
            let writable = try MemoryFile.create(name: "fuzz", size: Self.memoryBytes)
            return try FileDescriptor.open("/proc/self/fd/\(writable.rawValue)", flags: O_RDONLY)
        case .event: return try EventFD().descriptor
        case .pipe:
            let (reading, writing) = try Self.pipe()
            partners.append(reading)
            return writing
        case .socket:
            let (here, there) = try UnixSocket.pair()
            channel = here
            return there
        case .directory: return try FileDescriptor.open("/", flags: O_RDONLY | O_DIRECTORY)
        case .device: return try FileDescriptor.open("/dev/null", flags: O_RDWR)
        }
    }

    private static func pipe() throws(SystemError) -> (reading: FileDescriptor, writing: FileDescriptor) {
        var ends: [Int32] = [-1, -1]
        guard unsafe Glibc.pipe(&ends) == 0 else { throw SystemError("make a pipe", errno: errno) }
        return (FileDescriptor(owning: ends[0]), FileDescriptor(owning: ends[1]))
    }

    /// Which of the first descriptors of this process are open: the same before a run and after it, or something leaked.
    static func openNumbers() -> [Int32] { (0..<96).filter { ProcessSelf.isOpen($0) } }
}
