import CLinux

/// A system call that failed: what was tried and the errno it left.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried, with its object where there is one: "open /dev/nvme1n1".
    public var call: String
    /// The error number, positive.
    public var errno: Int32

    /// Describes a failed call; `errno` may be given as the kernel returns it, negated.
    public init(_ call: String, errno: Int32) {
        self.call = call
        self.errno = errno < 0 ? -errno : errno
    }

    /// The error's meaning in words: "Permission denied".
    public var reason: String {
        unsafe Self.text(clinux_error_text(errno)) ?? "unknown error \(errno)"
    }

    /// The error's name: "EACCES".
    public var name: String {
        unsafe Self.text(clinux_error_name(errno)) ?? "errno \(errno)"
    }

    /// "open /x: Permission denied (EACCES)".
    public var description: String { "\(call): \(reason) (\(name))" }

    /// The two functions above return static strings of glibc, or nil; nothing is owned here.
    private static func text(_ pointer: UnsafePointer<CChar>?) -> String? {
        guard let pointer = unsafe pointer else { return nil }
        return unsafe String(cString: pointer)
    }
}

extension SystemError {
    /// Passes a shim's answer on, or throws when it is a negated errno.
    @discardableResult
    package static func check(_ answer: Int32, _ call: @autoclosure () -> String) throws(SystemError) -> Int32 {
        if answer < 0 { throw SystemError(call(), errno: answer) }
        return answer
    }

    /// Passes a shim's answer on, or throws when it is a negated errno.
    @discardableResult
    package static func check(_ answer: Int64, _ call: @autoclosure () -> String) throws(SystemError) -> Int64 {
        if answer < 0, answer > -4096 { throw SystemError(call(), errno: Int32(-answer)) }
        return answer
    }
}
