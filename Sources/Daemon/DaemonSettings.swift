import ControlAPI
import LinuxSystem

/// What holds for a run of the daemon: the command line over the configuration file over the defaults.
struct DaemonSettings: Sendable {
    var configuration = Configuration()
    /// The configuration file, to be read again on SIGHUP.
    var configurationPath: String?
    /// nil: no control socket.
    var controlPath: String?
    /// nil: nothing is saved.
    var statePath: String?
    var single: (parameters: ExportParameters, descriptor: Int32?)?

    /// How long a stop waits for requests in flight when nobody says, in seconds.
    static let drainTimeoutSDefault = 10

    var drainTimeoutNanoseconds: UInt64 { UInt64(configuration.drainTimeoutS ?? Self.drainTimeoutSDefault) * 1_000_000_000 }

    /// The folder of sockets whose path nobody gave: the control socket's.
    var socketFolder: String {
        guard let controlPath, let slash = controlPath.lastIndex(of: "/") else { return "/" }
        return String(controlPath[..<slash])
    }

    /// Reads the configuration file that the options name. Waits for the disk.
    init(_ options: DaemonOptions) throws(ConfigurationError) {
        switch options.mode {
        case .single(let parameters, let descriptor):
            single = (parameters, descriptor)
            controlPath = options.control
        case .exports(let path, let stateDirectory):
            if let path { configuration = try ConfigurationFile.read(path) }
            configurationPath = path
            controlPath = options.control ?? configuration.control ?? ControlPath.resolve(option: nil)
            statePath = stateDirectory ?? configuration.stateDirectory ?? Self.standardStatePath()
        }
    }

    /// /var/lib/vhublk for root, vhublk in the state folder of others (XDG base directories).
    static func standardStatePath(
        user: UInt32 = ProcessSelf.user, environment: (String) -> String? = ProcessSelf.environment
    ) -> String {
        if user == 0 { return "/var/lib/vhublk" }
        if let folder = environment("XDG_STATE_HOME"), folder.hasPrefix("/") { return folder + "/vhublk" }
        return (environment("HOME") ?? "/") + "/.local/state/vhublk"
    }

    /// Who may use the control socket. Asks the system's directory of groups.
    var access: ControlAccess {
        var access = ControlAccess()
        access.mode = configuration.controlMode.flatMap { UInt32($0, radix: 8) } ?? access.mode
        access.groupName = configuration.controlGroup
        access.groupNumber = configuration.controlGroup.flatMap { UnixSocket.groupNumber($0) }
        return access
    }
}
