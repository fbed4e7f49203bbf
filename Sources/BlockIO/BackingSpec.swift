internal import LinuxSystem

/// Where an export's data is, as the command line and the configuration write it: a path, or "null:SIZE".
public enum BackingSpec: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// A regular file or a block device.
    case file(path: String)
    /// A disk of `size` bytes that completes every request at once and keeps nothing; for benchmarks.
    case null(size: UInt64)

    private static let nullPrefix = "null:"

    /// Reads a path or "null:SIZE"; a file whose name begins with "null:" is written "./null:...".
    public init(parsing text: String) throws(BackingError) {
        guard !text.isEmpty else {
            throw BackingError(.badSpecification, path: text, "the backing is empty", hint: "give a path or null:SIZE")
        }
        guard text.hasPrefix(Self.nullPrefix) else {
            self = .file(path: text)
            return
        }
        guard let size = ByteSize(parsing: String(text.dropFirst(Self.nullPrefix.count)))?.bytes, size >= 512 else {
            throw BackingError(
                .badSpecification, path: text, "\(text) does not name a size of 512 bytes or more",
                hint: "write null:SIZE with a number and K, M, G or T, for example null:10G")
        }
        self = .null(size: size)
    }

    /// The specification as it is written.
    public var description: String {
        switch self {
        case .file(let path): path
        case .null(let size): Self.nullPrefix + ByteSize(size).exactText
        }
    }
}
