import CLinux
import Glibc

/// Why a listening socket could not be made.
public enum UnixListenerError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The path holds more bytes than a Unix socket's address.
    case pathTooLong(path: String)
    /// Something that is not a socket is there, and is left alone.
    case notASocket(path: String, kind: FileStatus.Kind)
    /// Somebody listens there.
    case inUse(path: String)
    /// The group does not exist.
    case unknownGroup(name: String)
    /// A system call failed.
    case system(SystemError)

    /// Names the path and the reason.
    public var description: String {
        switch self {
        case .pathTooLong(let path):
            "socket path \(path) has \(path.utf8.count) bytes; \(UnixSocket.pathLengthMax) are the most a Unix socket can have"
        case .notASocket(let path, let kind): "\(path) exists and is a \(kind.rawValue), not a socket"
        case .inUse(let path): "a process listens on \(path) already"
        case .unknownGroup(let name): "there is no group \(name)"
        case .system(let error): error.description
        }
    }
}

extension UnixSocket {
    /// Listens at `path` with exactly the permission bits `mode`, owned by `group` (a name or a number) where given; nobody can connect
    /// before both are set.
    ///
    /// A socket at `path` on which nobody listens is a dead process's and is replaced. Everything else there is refused and kept. Closing the
    /// socket closes what waits in it, connections and what they were sent, hence `closing`. Without `takesDescriptors` none can be sent to a
    /// connection from Linux 6.16 on: the sender's sendmsg(2) fails with EPERM. Earlier kernels let them come.
    public static func listen(
        path: String, mode: UInt32 = 0o600, group: String? = nil, backlog: Int32 = 128, closing: ClosingQueue? = nil,
        takesDescriptors: Bool = true
    ) throws(UnixListenerError) -> FileDescriptor {
        guard path.utf8.count <= pathLengthMax else { throw .pathTooLong(path: path) }
        let groupNumber = try group.map { name throws(UnixListenerError) in try number(ofGroup: name) }
        do {
            // Two processes that start at once must not take each other's fresh socket for a dead one: whoever looks, removes and
            // listens holds the folder's lock. It is advisory, so a foreign holder delays us for a moment only.
            let folder = try FileDescriptor.open(parent(of: path), flags: O_RDONLY | O_DIRECTORY)
            waitForLock(folder)
            let socket = FileDescriptor(owning: try SystemError.check(clinux_socket_unix(1), "create a socket"), closing: closing)
            if !takesDescriptors { _ = clinux_refuse_descriptors(socket.rawValue) }
            try removeStale(path)
            // The socket's own mode limits that of its file from the first instant; the umask limits it further until chmod.
            try SystemError.check(clinux_fchmod(socket.rawValue, 0), "set the mode of a socket")
            let status = unsafe clinux_bind(socket.rawValue, path)
            if status == -EADDRINUSE { throw UnixListenerError.inUse(path: path) }
            try SystemError.check(status, "listen on \(path)")
            do {
                if let groupNumber { try SystemError.check(unsafe clinux_chgrp(path, groupNumber), "give \(path) to group \(group ?? "")") }
                try SystemError.check(unsafe clinux_chmod(path, mode), "set the mode of \(path)")
                try SystemError.check(clinux_listen(socket.rawValue, backlog), "listen on \(path)")
            } catch {
                _ = unsafe clinux_unlink(path)
                throw error
            }
            return socket
        } catch let error as SystemError {
            throw .system(error)
        } catch let error as UnixListenerError {
            throw error
        } catch {
            fatalError("no other error is thrown above: \(error)")
        }
    }

    /// Removes the socket file of a listener that is being closed; anything else at `path` is left alone.
    public static func removeSocketFile(path: String) {
        guard let status = try? FileStatus.atPath(path), status.kind == .socket else { return }
        _ = unsafe clinux_unlink(path)
    }

    /// Removes a socket on which nobody listens; throws when `path` is anything else that exists.
    private static func removeStale(_ path: String) throws {
        guard let status = try FileStatus.atPath(path) else { return }
        guard status.kind == .socket else { throw UnixListenerError.notASocket(path: path, kind: status.kind) }
        do {
            _ = try connect(path: path)
            throw UnixListenerError.inUse(path: path)
        } catch let error as SystemError {
            switch error.errno {
            case ECONNREFUSED: try SystemError.check(unsafe clinux_unlink(path), "remove the dead socket \(path)")
            case ENOENT: break
            case EAGAIN: throw UnixListenerError.inUse(path: path)
            default: throw error
            }
        }
    }

    private static func waitForLock(_ folder: FileDescriptor) {
        let attempts = 20
        for _ in 0..<attempts where clinux_try_lock(folder.rawValue, 1) < 0 {
            usleep(5_000)
        }
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func number(ofGroup name: String) throws(UnixListenerError) -> UInt32 {
        if let number = UInt32(name) { return number }
        let number = unsafe clinux_group_number(name)
        guard number >= 0 else { throw .unknownGroup(name: name) }
        return UInt32(number)
    }
}
