import ControlAPI
import LinuxSystem

/// What the daemon reads and gives up before it has a second thread.
///
/// It waits for the disk with signals at their defaults, so that a start that hangs can be ended.
struct DaemonStart: Sendable {
    /// When the daemon started, monotonic nanoseconds.
    let time: UInt64
    /// What holds for the run.
    let settings: DaemonSettings
    /// Where exports are kept; nil in the single-export mode.
    let stateDirectory: StateDirectory?
    /// What was kept there.
    let content: StateDirectory.Content
    /// Who may use the control socket.
    let access: ControlAccess
    /// What was given up.
    let sandbox: Sandbox
    /// Folders that the configuration names and that are not there.
    let missingFolders: [String]

    init(_ options: DaemonOptions) throws {
        time = MonotonicClock.now()
        var settings = try DaemonSettings(options)
        if let path = settings.statePath {
            let directory = try StateDirectory(path: path)
            stateDirectory = directory
            content = try directory.load()
        } else {
            stateDirectory = nil
            content = StateDirectory.Content()
        }
        // A missing folder is the usual state after a boot, /run being empty; what cannot be made is told by who needs it.
        try? DurableFile.createFolder(settings.socketFolder, mode: 0o755)
        access = settings.access
        settings.folders = Self.folders(settings, content)
        let named = (settings.configuration.backingFolders ?? []) + (settings.configuration.socketFolders ?? [])
        missingFolders = named.filter { SystemFile.resolve($0) == nil }
        self.settings = settings
        sandbox = try Sandbox.enter(settings, rules: settings.folders.backings.map { Self.rules(settings, backings: $0) })
    }

    /// Where backings and sockets may be: as the administrator says; a daemon with one export and no way to ask for another needs no more
    /// than that one.
    private static func folders(_ settings: DaemonSettings, _ content: StateDirectory.Content) -> AllowedFolders {
        var folders = AllowedFolders()
        guard settings.sandbox != .off || settings.configuration.backingFolders != nil else { return folders }
        if let given = settings.configuration.backingFolders {
            folders.backings = given.compactMap { SystemFile.resolve($0) }
        } else if let single = settings.single, settings.controlPath == nil {
            folders.backings = [single.parameters.backing].compactMap { SystemFile.resolve($0) }
        } else {
            return folders
        }
        let known = (settings.configuration.exports + content.exports + (settings.single.map { [$0.parameters] } ?? [])).compactMap(
            \.socket)
        let parents = (known + [settings.controlPath].compactMap { $0 }).map { parent(of: $0) }
        let all = parents + [settings.socketFolder] + (settings.configuration.socketFolders ?? [])
        folders.sockets = Set(all.filter { !$0.isEmpty && $0 != "/" }.compactMap { SystemFile.resolve($0) }).sorted()
        return folders
    }

    /// Rules of landlock for folders: backings to read, write and change in size; sockets and state to make, replace and remove; the kernel's
    /// and the system's files to read.
    private static func rules(_ settings: DaemonSettings, backings: [String]) -> [Landlock.Rule] {
        let backing: Landlock.Rights = [.readFile, .writeFile, .readFolder, .truncate, .deviceRequest]
        let reading: Landlock.Rights = [.readFile, .readFolder]
        var rules = backings.map { Landlock.Rule($0, backing) }
        rules += (settings.folders.sockets ?? []).map { Landlock.Rule($0, [.makeSocket, .removeFile, .readFolder]) }
        if let path = settings.statePath {
            rules.append(Landlock.Rule(path, [.readFile, .writeFile, .readFolder, .makeFile, .removeFile, .truncate]))
        }
        // Read again on SIGHUP; editors put a new file in its place, so it is the folder that counts.
        if let path = settings.configurationPath { rules.append(Landlock.Rule(parent(of: path), reading)) }
        // What devices are and who holds their locks; names of groups, and the libraries that look them up.
        rules += ["/proc", "/sys", "/etc", "/usr", "/lib", "/lib64", "/nix/store"].map { Landlock.Rule($0, reading) }
        return rules
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
