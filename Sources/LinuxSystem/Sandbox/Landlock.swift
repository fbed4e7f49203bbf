import CLinux
import Glibc

/// Rules of landlock(7): what the calling thread, and those it starts later, may still reach. They cannot be widened again.
public struct Landlock: Sendable {
    /// Things done to files and folders, as landlock tells them apart.
    public struct Rights: OptionSet, Sendable {
        /// The kernel's bits.
        public var rawValue: UInt64
        /// Takes the kernel's bits.
        public init(rawValue: UInt64) { self.rawValue = rawValue }
        /// Starting a program.
        public static let execute = Rights(rawValue: 1 << 0)
        /// Opening a file for writing.
        public static let writeFile = Rights(rawValue: 1 << 1)
        /// Opening a file for reading.
        public static let readFile = Rights(rawValue: 1 << 2)
        /// Listing a folder.
        public static let readFolder = Rights(rawValue: 1 << 3)
        /// Removing a folder.
        public static let removeFolder = Rights(rawValue: 1 << 4)
        /// Removing a file, or replacing it by renaming another over it.
        public static let removeFile = Rights(rawValue: 1 << 5)
        /// Making a character device.
        public static let makeCharacterDevice = Rights(rawValue: 1 << 6)
        /// Making a folder.
        public static let makeFolder = Rights(rawValue: 1 << 7)
        /// Making a regular file.
        public static let makeFile = Rights(rawValue: 1 << 8)
        /// Making a Unix socket.
        public static let makeSocket = Rights(rawValue: 1 << 9)
        /// Making a pipe with a name.
        public static let makePipe = Rights(rawValue: 1 << 10)
        /// Making a block device.
        public static let makeBlockDevice = Rights(rawValue: 1 << 11)
        /// Making a symbolic link.
        public static let makeLink = Rights(rawValue: 1 << 12)
        /// Moving between folders (version 2).
        public static let move = Rights(rawValue: 1 << 13)
        /// Changing a file's size (version 3).
        public static let truncate = Rights(rawValue: 1 << 14)
        /// Requests (ioctl) to devices (version 5).
        public static let deviceRequest = Rights(rawValue: 1 << 15)

        /// Those that make sense for something that is no folder.
        static let ofFiles: Rights = [.execute, .writeFile, .readFile, .truncate, .deviceRequest]

        /// Those that a version of the kernel's interface knows.
        static func known(to version: Int) -> Rights {
            var rights = Rights(rawValue: (1 << 13) - 1)
            if version >= 2 { rights.insert(.move) }
            if version >= 3 { rights.insert(.truncate) }
            if version >= 5 { rights.insert(.deviceRequest) }
            return rights
        }
    }

    /// Allows rights at a path and, where it is a folder, in everything below it.
    public struct Rule: Sendable, Equatable {
        /// The path; symbolic links are followed.
        public var path: String
        /// What is allowed there.
        public var rights: Rights

        /// A rule.
        public init(_ path: String, _ rights: Rights) {
            self.path = path
            self.rights = rights
        }
    }

    /// The rights that are taken away, but for the rules.
    public var handled: Rights
    /// What is allowed nevertheless. Paths that do not exist are left out.
    public var rules: [Rule]
    /// Whether connecting to abstract Unix sockets of processes outside is forbidden (version 6).
    public var forbidsAbstractSockets: Bool

    /// Rules; what is handled beside files is always the same: no TCP (version 4), and no signals to processes outside (version 6).
    public init(handled: Rights, rules: [Rule] = [], forbidsAbstractSockets: Bool) {
        self.handled = handled
        self.rules = rules
        self.forbidsAbstractSockets = forbidsAbstractSockets
    }

    /// The version of the kernel's interface; throws where the kernel has none, or it is switched off.
    public static func version() throws(SystemError) -> Int {
        Int(try SystemError.check(clinux_landlock_version(), "ask for landlock"))
    }

    /// Puts the rules into force for the calling thread and those it starts later. New privileges must be forbidden before. Returns the
    /// version of the kernel's interface.
    public func restrict() throws(SystemError) -> Int {
        let version = try Self.version()
        let known = Rights.known(to: version)
        let network: UInt64 = version >= 4 ? 0b11 : 0
        let scopes: UInt64 = version >= 6 ? (forbidsAbstractSockets ? 0b11 : 0b10) : 0
        let handled = handled.intersection(known)
        let set = FileDescriptor(
            owning: try SystemError.check(
                clinux_landlock_create(Int32(version), handled.rawValue, network, scopes), "make landlock rules"))
        for rule in rules {
            let descriptor = unsafe clinux_open_path(rule.path)
            if descriptor == -ENOENT || descriptor == -ENOTDIR { continue }
            let path = FileDescriptor(owning: try SystemError.check(descriptor, "open \(rule.path)"))
            let isFolder = try path.status().kind == .directory
            let rights = rule.rights.intersection(handled).intersection(isFolder ? known : .ofFiles)
            guard !rights.isEmpty else { continue }
            try SystemError.check(
                clinux_landlock_allow(set.rawValue, path.rawValue, rights.rawValue), "allow \(rule.path) in landlock rules")
        }
        try SystemError.check(clinux_landlock_restrict(set.rawValue), "put landlock rules into force")
        return version
    }
}
