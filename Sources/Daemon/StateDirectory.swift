public import ControlAPI
import LinuxSystem

/// Where exports made at run time are kept: one JSON file each, replaced atomically, and a lock that one daemon holds.
///
/// Everything here waits for the disk: call it on a worker, or before the control loop runs.
public final class StateDirectory: Sendable {
    /// The largest state file, in bytes.
    public static let fileSizeMax = 65536
    private static let format = "vhublk-export"
    private static let version: Int64 = 1
    private static let suffix = ".json"
    private static let lockName = "lock"

    /// The folder's path.
    public let path: String
    private let lock: FileDescriptor

    /// What a folder held.
    public struct Content: Sendable, Equatable {
        /// The exports, by name.
        public var exports: [ExportParameters] = []
        /// State files that cannot be used, by the export's name, and why. They are kept as they are.
        public var refused: [String: ControlError] = [:]
        /// Names of files that are none of ours.
        public var foreign: [String] = []
    }

    /// Opens the folder, making it and its parents when missing, and takes its lock.
    public init(path: String) throws(ControlError) {
        self.path = path
        do {
            try Self.createFolders(path)
            guard let lock = try DurableFile.lock("\(path)/\(Self.lockName)") else {
                let hint = "stop it, or give this one a state directory of its own with --state-dir"
                throw ControlError(.busy, "another vhublkd uses the state directory \(path)", field: "state_dir", hint: hint)
            }
            self.lock = lock
        } catch let error as SystemError {
            let hint = "the daemon's user must be able to write there, or name another folder with --state-dir"
            throw ControlError(.state, "the state directory \(path) cannot be used: \(error)", field: "state_dir", hint: hint)
        } catch let error as ControlError {
            throw error
        } catch {
            throw ControlError(.internal, "the state directory \(path) cannot be used: \(error)")
        }
    }

    private static func createFolders(_ path: String) throws(SystemError) {
        var folder = ""
        for part in path.split(separator: "/") {
            folder += "/\(part)"
            if try FileStatus.atPath(folder) == nil { try DurableFile.createFolder(folder, mode: 0o700) }
        }
    }

    /// Reads all state files. What an interrupted write has left is removed; what cannot be used is told and kept.
    public func load() throws(ControlError) -> Content {
        var content = Content()
        let names: [String]
        do {
            names = try DurableFile.names(inFolder: path)
        } catch {
            throw ControlError(.state, "the state directory \(path) cannot be read: \(error)", field: "state_dir", hint: "look at its mode")
        }
        for name in names where name != Self.lockName {
            if name.hasPrefix("."), name.hasSuffix("\(Self.suffix).new") {
                try? DurableFile.remove("\(path)/\(name)")
            } else if name.hasSuffix(Self.suffix), TextRule.exportName.problem(with: String(name.dropLast(Self.suffix.count))) == nil {
                let export = String(name.dropLast(Self.suffix.count))
                do {
                    content.exports.append(try read(export))
                } catch {
                    content.refused[export] = error
                }
            } else {
                content.foreign.append(name)
            }
        }
        return content
    }

    private func file(_ name: String) -> String { "\(path)/\(name)\(Self.suffix)" }

    private func read(_ name: String) throws(ControlError) -> ExportParameters {
        let path = file(name)
        func refusal(_ reason: String) -> ControlError {
            ControlError(
                .state, "the state file \(path) \(reason)", field: "name",
                hint: "it is kept as it is: correct it, or move it away and make the export anew, then restart the daemon")
        }
        let bytes: [UInt8]?
        do {
            bytes = try DurableFile.read(path, sizeMax: Self.fileSizeMax)
        } catch {
            throw refusal("cannot be read: \(error)")
        }
        let value: JSONValue
        do {
            value = try JSONParser.parse(bytes ?? [])
        } catch {
            throw refusal("is torn or was not written by vhublkd: \(error)")
        }
        guard value["format"]?.string == Self.format, let version = value["version"]?.integer, let members = value["export"]?.object else {
            throw refusal("was not written by vhublkd: it lacks format, version or export")
        }
        guard version == Self.version else { throw refusal("has version \(version), this vhublkd knows \(Self.version)") }
        let parameters: ExportParameters
        do {
            parameters = try ExportParameters(checking: members)
        } catch {
            throw refusal("cannot be used: \(error)")
        }
        guard parameters.name == name else { throw refusal("is that of an export named '\(parameters.name)'") }
        return parameters
    }

    /// Saves an export, for good when this returns.
    public func save(_ parameters: ExportParameters) throws(ControlError) {
        do {
            let content: JSONValue = [
                "format": .string(Self.format), "version": .integer(Self.version), "export": try JSONText.value(of: parameters),
            ]
            try DurableFile.replace(file(parameters.name), with: Array((try JSONText.pretty(content) + "\n").utf8))
        } catch {
            let hint = "look at the space and the mode of \(path)"
            throw ControlError(.state, "the state of export \(parameters.name) cannot be saved: \(error)", field: "name", hint: hint)
        }
    }

    /// Forgets an export, for good when this returns.
    public func remove(_ name: String) throws(ControlError) {
        do {
            try DurableFile.remove(file(name))
        } catch {
            let hint = "remove it by hand, or the export comes back when the daemon starts again"
            throw ControlError(.state, "the state file of export \(name) cannot be removed: \(error)", field: "name", hint: hint)
        }
    }
}
