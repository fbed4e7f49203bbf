/// A system call that a thread may make, and with which arguments: a line of the lists that filters are made from.
public struct SystemCallRule: Sendable, Equatable, ExpressibleByStringLiteral {
    /// What an argument must be. Arguments are looked at as the 32 bits that the kernel itself looks at, unless the case says otherwise.
    public enum Condition: Sendable, Equatable {
        /// The argument is one of these values.
        case isOneOf(argument: Int, [UInt32])
        /// The argument has all of these bits.
        case hasAll(argument: Int, UInt32)
        /// The argument lacks at least one of these bits.
        case lacksSome(argument: Int, UInt32)
        /// All 64 bits of the argument are zero.
        case isZero(argument: Int)
    }

    /// The call's name, as in syscalls(2).
    public var name: String
    /// What must hold of its arguments, all of it.
    public var conditions: [Condition]

    /// A call with conditions.
    public init(_ name: String, _ conditions: Condition...) {
        self.name = name
        self.conditions = conditions
    }

    /// A call with any arguments.
    public init(stringLiteral name: String) {
        self.name = name
        conditions = []
    }
}
