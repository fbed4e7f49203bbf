import CLinux
import Glibc

extension UnixSocket {
    /// The supplementary groups of the process that is connected to `socket`, as they were when it connected.
    public static func groupsOfPeer(_ socket: FileDescriptor) throws(SystemError) -> [UInt32] {
        // NGROUPS_MAX of Linux is 65536; nearly everybody is in a handful.
        var groups = [UInt32](repeating: 0, count: 64)
        var count = unsafe clinux_peer_groups(socket.rawValue, &groups, groups.count)
        if count == -ERANGE {
            groups = [UInt32](repeating: 0, count: 65536)
            count = unsafe clinux_peer_groups(socket.rawValue, &groups, groups.count)
        }
        return Array(groups[..<Int(try SystemError.check(count, "ask for the peer's groups"))])
    }

    /// The number of a group given by name or number; nil when there is none of that name. May ask a directory service: not on the control
    /// thread.
    public static func groupNumber(_ name: String) -> UInt32? {
        if let number = UInt32(name) { return number }
        return UInt32(exactly: unsafe clinux_group_number(name))
    }

    /// The number of a user given by name or number; nil when there is none of that name. May ask a directory service: not on the control
    /// thread.
    public static func userNumber(_ name: String) -> UInt32? {
        if let number = UInt32(name) { return number }
        return UInt32(exactly: unsafe clinux_user_number(name))
    }
}
