import LinuxSystem

/// Where the control socket is when nobody says.
public enum ControlPath {
    /// The variable of the environment that names the control socket.
    public static let environmentName = "VHUBLK_CONTROL"

    /// The socket to use: `option`, or VHUBLK_CONTROL, or the default of this user.
    public static func resolve(option: String?) -> String {
        option ?? ProcessSelf.environment(environmentName)
            ?? standard(user: ProcessSelf.user, runtimeDirectory: ProcessSelf.environment("XDG_RUNTIME_DIR"))
    }

    /// /run/vhublk/control.sock for root, vhublk/control.sock in the runtime directory of others.
    public static func standard(user: UInt32, runtimeDirectory: String?) -> String {
        if user == 0 { return "/run/vhublk/control.sock" }
        return (runtimeDirectory ?? "/run/user/\(user)") + "/vhublk/control.sock"
    }
}
