import ControlAPI
import LinuxSystem

/// Where backings and sockets may be, where the administrator says so. The rules of landlock that hold the daemon to it are made from the
/// same lists; what is checked here is checked for the error's sake, which can name the reason.
struct AllowedFolders: Sendable, Equatable {
    /// Folders, files and devices, links resolved; nil: backings may be anywhere.
    var backings: [String]?
    /// Folders, links resolved; nil: sockets may be anywhere.
    var sockets: [String]?
    /// How the administrator can change it.
    var remedy = "name its folder in backing_folders or with --backing-folder, and restart the daemon: what it gave up it cannot take again"

    /// Throws unless the backing is in one of the folders. Follows links, so it waits for the disk.
    func check(backing: String) throws(ControlError) {
        guard let backings, !backing.hasPrefix("null:") else { return }
        // What is not there, or cannot be looked at, is told by who opens it.
        guard let resolved = SystemFile.resolve(backing), !Self.contains(backings, resolved) else { return }
        let name = resolved == backing ? backing : "\(backing), which is \(resolved),"
        throw ControlError(
            .permission, "\(name) is outside of \(Self.text(backings)), where backings may be", field: "backing", hint: remedy)
    }

    /// Throws unless the socket is in one of the folders.
    func check(socket: String) throws(ControlError) {
        guard let sockets, let slash = socket.lastIndex(of: "/") else { return }
        let folder = String(socket[..<slash])
        guard let resolved = SystemFile.resolve(folder.isEmpty ? "/" : folder), !Self.contains(sockets, resolved) else { return }
        throw ControlError(
            .permission, "\(socket) is outside of \(Self.text(sockets)), where sockets may be", field: "socket",
            hint: "leave --socket out, or name the folder in socket_folders of the configuration file and restart the daemon")
    }

    private static func contains(_ folders: [String], _ path: String) -> Bool {
        folders.contains { path == $0 || $0 == "/" || path.hasPrefix($0 + "/") }
    }

    private static func text(_ folders: [String]) -> String {
        folders.isEmpty ? "the one export's folder" : folders.joined(separator: ", ")
    }
}
