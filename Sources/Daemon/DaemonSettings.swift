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

    /// How long a stop may wait for requests in flight, in seconds.
    static let drainTimeoutS: ClosedRange<Int64> = 0...600
    /// How long it waits when nobody says, in seconds.
    static let drainTimeoutSDefault = 10

    /// How long every stop of a ring waits for its requests in flight: GET_VRING_BASE, a reset, a disconnect, a removal, the daemon's end.
    var drainTimeoutNanoseconds: UInt64 { UInt64(configuration.drainTimeoutS ?? Self.drainTimeoutSDefault) * 1_000_000_000 }

    /// How long a removal or the daemon's end takes at most: a second more than its rings, which are given back at the end of theirs.
    var stopTimeoutNanoseconds: UInt64 { drainTimeoutNanoseconds + 1_000_000_000 }

    /// What the daemon gives up at its start.
    var sandbox: SandboxMode { configuration.sandbox ?? .on }

    /// Where backings and sockets may be, where that is restricted.
    var folders = AllowedFolders()

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
        configuration.drainTimeoutS = options.drainTimeoutS ?? configuration.drainTimeoutS
        configuration.sandbox = options.sandbox ?? configuration.sandbox
        if options.allowsCoreDumps { configuration.coreDumps = true }
        if !options.backingFolders.isEmpty { configuration.backingFolders = options.backingFolders }
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
        access.userNumbers = configuration.controlUsers.map { users in users.compactMap { UnixSocket.userNumber($0) } }
        return access
    }
}
