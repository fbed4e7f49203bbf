import ControlAPI

/// What is wrong with a configuration file: names the file, the line, the key, the reason and the way out.
public struct ConfigurationError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file's path.
    public var file: String
    /// The line, counted from 1; nil when the file as a whole is meant.
    public var line: Int?
    /// The key, with the tables it is in: `exports[1].queues`.
    public var key: String?
    /// What is wrong.
    public var reason: String
    /// What to do.
    public var hint: String

    /// "/etc/vhublk/vhublkd.toml:7: exports[1].queues: queues cannot be 300 (it must be an integer from 1 to 256)"
    public var description: String {
        let place = line.map { "\(file):\($0)" } ?? file
        let subject = key.map { "\($0): " } ?? ""
        return "\(place): \(subject)\(reason) (\(hint))"
    }
}
