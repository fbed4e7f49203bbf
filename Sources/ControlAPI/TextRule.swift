internal import LinuxSystem

/// A rule that a string in a request must satisfy.
public enum TextRule: Sendable, Equatable {
    /// No rule.
    case any
    /// An export's name: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a full stop or a hyphen; so it is also a file name that stays in
    /// its folder.
    case exportName
    /// A backing: an absolute path or `null:SIZE`.
    case backing
    /// The path of a Unix socket: absolute, short enough for `sun_path` (unix(7)).
    case socketPath
    /// A serial number: 1 to 20 printable ASCII characters (virtio 1.3, section 5.2.6: VIRTIO_BLK_T_GET_ID has 20 bytes).
    case serial
    /// An absolute path.
    case path
    /// Permission bits of a socket in octal: `0660`.
    case fileMode
    /// A group by name or number.
    case group
    /// What happens to requests that the backing fails: `report`, `hold` or `hold:SECONDS`.
    case onError
    /// A user by name or number.
    case user
    /// A version: one to three numbers with full stops between.
    case version

    /// The longest export name.
    public static let exportNameLengthMax = 64
    /// The longest path of a socket in bytes: `sun_path` has 108 with the terminating zero.
    public static let socketPathLengthMax = 107
    /// The longest path in bytes, PATH_MAX without the terminating zero.
    public static let pathLengthMax = 4095
    /// The longest serial number.
    public static let serialLengthMax = 20

    /// Why `text` breaks the rule and what to do; nil when it is fine.
    public func problem(with text: String) -> (reason: String, hint: String)? {
        switch self {
        case .any: nil
        case .exportName: Self.exportNameProblem(text)
        case .backing: Self.backingProblem(text)
        case .socketPath: Self.socketPathProblem(text)
        case .path: Self.pathProblem(text, hint: "give an absolute path", lengthMax: Self.pathLengthMax)
        case .serial: Self.serialProblem(text)
        case .fileMode: Self.fileModeProblem(text)
        case .onError: Self.onErrorProblem(text)
        case .version: QEMUVersion(parsing: text) == nil ? ("is not a version", "give one such as 7.2 or 10.0") : nil
        case .group: Self.accountProblem(text, "group", example: "kvm")
        case .user: Self.accountProblem(text, "user", example: "libvirt-qemu")
        }
    }

    /// The rule as the pattern of a JSON Schema, where it is one.
    public var pattern: String? {
        switch self {
        case .exportName: "^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$"
        case .backing: "^(/.*|null:[0-9]+[KMGTkmgt]?)$"
        case .socketPath: "^/.{1,106}$"
        case .path: "^/"
        case .serial: "^[ -~]{1,20}$"
        case .fileMode: "^0?[0-7]{3}$"
        case .onError: "^(report|hold(:[0-9]+)?)$"
        case .version: "^[0-9]+(\\.[0-9]+){0,2}$"
        case .any, .group, .user: nil
        }
    }

    /// The rule in words, for the documents.
    public var meaning: String {
        switch self {
        case .any: "string"
        case .exportName: "string, 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with `.` or `-`"
        case .backing: "string, an absolute path or `null:SIZE`"
        case .socketPath: "string, an absolute path of at most 107 bytes"
        case .path: "string, an absolute path"
        case .serial: "string, 1 to 20 printable ASCII characters"
        case .fileMode: "string, octal permission bits"
        case .group: "string, name or number of a group"
        case .onError: "string, `report`, `hold` or `hold:SECONDS`"
        case .user: "string, name or number of a user"
        case .version: "string, a version such as `7.2`"
        }
    }

    private static func exportNameProblem(_ text: String) -> (reason: String, hint: String)? {
        let hint = "names have 1 to 64 of A-Z a-z 0-9 . _ - and do not start with '.' or '-'"
        if text.isEmpty { return ("is empty", hint) }
        if text.utf8.count > exportNameLengthMax { return ("is longer than \(exportNameLengthMax) bytes", hint) }
        if text.hasPrefix(".") || text.hasPrefix("-") { return ("starts with '\(text.prefix(1))'", hint) }
        guard let bad = text.first(where: { !($0.isASCII && ($0.isLetter || $0.isNumber || "._-".contains($0))) }) else { return nil }
        return ("contains \(quoted(bad))", hint)
    }

    private static func backingProblem(_ text: String) -> (reason: String, hint: String)? {
        let hint = "give an absolute path such as /var/lib/images/db0.raw, or null:SIZE such as null:10G"
        if text.hasPrefix("null:") {
            guard let size = ByteSize(parsing: String(text.dropFirst(5))) else {
                return ("has no size that can be read after 'null:'", hint)
            }
            return size.bytes > 0 && size.bytes.isMultiple(of: 512)
                ? nil : ("has a size that is not a positive multiple of 512 bytes", hint)
        }
        return pathProblem(text, hint: hint, lengthMax: pathLengthMax)
    }

    private static func socketPathProblem(_ text: String) -> (reason: String, hint: String)? {
        pathProblem(text, hint: "give an absolute path of at most \(socketPathLengthMax) bytes", lengthMax: socketPathLengthMax)
    }

    private static func pathProblem(_ text: String, hint: String, lengthMax: Int) -> (reason: String, hint: String)? {
        if text.isEmpty { return ("is empty", hint) }
        // Of bytes: a combining mark after the slash makes one character of both, and is a name all the same.
        if text.utf8.first != UInt8(ascii: "/") { return ("is not an absolute path", hint) }
        if text.contains("\0") { return ("contains a zero byte", hint) }
        if text.utf8.count > lengthMax { return ("is \(text.utf8.count) bytes long, more than the \(lengthMax) that fit", hint) }
        return nil
    }

    private static func serialProblem(_ text: String) -> (reason: String, hint: String)? {
        let hint = "a serial has 1 to \(serialLengthMax) printable ASCII characters"
        if text.isEmpty { return ("is empty", hint) }
        if text.utf8.count > serialLengthMax { return ("is longer than \(serialLengthMax) characters", hint) }
        guard let bad = text.first(where: { $0.asciiValue.map { !(0x20...0x7E).contains($0) } ?? true }) else { return nil }
        return ("contains \(quoted(bad))", hint)
    }

    private static func fileModeProblem(_ text: String) -> (reason: String, hint: String)? {
        let isOctal = (3...4).contains(text.utf8.count) && text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }
        guard isOctal, let bits = UInt32(text, radix: 8), bits <= 0o777 else {
            return ("is not permission bits in octal", "give a mode such as 0660")
        }
        return nil
    }

    private static func onErrorProblem(_ text: String) -> (reason: String, hint: String)? {
        if ErrorChoice(parsing: text) != nil { return nil }
        let hint = "give report, hold (for as long as it takes) or hold:SECONDS with at most \(ErrorChoice.holdSecondsMax) seconds"
        return ("is not a way to treat errors", hint)
    }

    private static func accountProblem(_ text: String, _ kind: String, example: String) -> (reason: String, hint: String)? {
        let isFine =
            !text.isEmpty && text.utf8.count <= 255 && text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "._-$".contains($0)) }
        return isFine ? nil : ("is not the name or number of a \(kind)", "give a \(kind) such as '\(example)'")
    }

    private static func quoted(_ character: Character) -> String {
        guard let ascii = character.asciiValue, ascii < 0x20 || ascii == 0x7F else { return "'\(character)'" }
        return "the control character \(ascii)"
    }
}
