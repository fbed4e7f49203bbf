import ControlAPI
import LinuxSystem

/// Who may use the control socket, beside what its mode lets through: the kernel tells who the peer is.
///
/// Whoever may use it decides what files the daemon opens, so a mode that was loosened by accident must not be enough.
struct ControlAccess: Sendable {
    /// The socket's permission bits; those for everybody lift the check of the peer, unless users are named.
    var mode: UInt32 = 0o660
    /// The group the socket gets.
    var groupName: String?
    /// That group's number, looked up once at the start.
    var groupNumber: UInt32?
    /// Users who were named, by number; nil when none were, in which case the mode decides.
    var userNumbers: [UInt32]?
    /// The daemon's own user.
    var user = ProcessSelf.user
    /// The daemon's own group.
    var group = ProcessSelf.group

    /// Why the peer at `socket` may not use it; nil when it may.
    func refusal(of socket: FileDescriptor) -> ControlError? {
        let hint = "run as root, as a member of the socket's group, or as one of control_users in the daemon's configuration file"
        guard let peer = try? UnixSocket.peer(of: socket) else {
            return ControlError(.permission, "the kernel does not tell who the peer is", hint: hint)
        }
        if peer.user == 0 || peer.user == user { return nil }
        if let userNumbers {
            if userNumbers.contains(peer.user) { return nil }
        } else if mode & 0o002 != 0 {
            return nil
        }
        let allowed = groupNumber ?? group
        let groups = [peer.group] + ((try? UnixSocket.groupsOfPeer(socket)) ?? [])
        if mode & 0o020 != 0, groups.contains(allowed) { return nil }
        return ControlError(.permission, "user \(peer.user) may not use this control socket", hint: hint)
    }
}
