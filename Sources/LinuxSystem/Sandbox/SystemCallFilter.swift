import CLinux

/// A filter of system calls (seccomp(2)): a list of those that are allowed, made into the kernel's classic BPF.
public struct SystemCallFilter: Sendable {
    /// What happens at a call that is not on the list.
    public enum Refusal: Sendable, Equatable {
        /// It fails with this errno.
        case errno(Int32)
        /// The process dies of SIGSYS.
        case kill

        /// SECCOMP_RET_ERRNO and SECCOMP_RET_KILL_PROCESS.
        var action: UInt32 {
            switch self {
            case .errno(let number): 0x0005_0000 | UInt32(number)
            case .kill: 0x8000_0000
            }
        }
    }

    /// Instructions of classic BPF that filters need (linux/bpf_common.h), and the fields of struct seccomp_data.
    private enum Code {
        /// BPF_LD | BPF_W | BPF_ABS
        static let load: UInt16 = 0x20
        /// BPF_JMP | BPF_JEQ | BPF_K
        static let ifEqual: UInt16 = 0x15
        /// BPF_JMP | BPF_JGT | BPF_K
        static let ifGreater: UInt16 = 0x25
        /// BPF_ALU | BPF_AND | BPF_K
        static let and: UInt16 = 0x54
        /// BPF_RET | BPF_K
        static let answer: UInt16 = 0x06
        static let number: UInt32 = 0
        static let architecture: UInt32 = 4
        static func argument(_ index: Int) -> UInt32 { UInt32(16 + 8 * index) }
        /// SECCOMP_RET_ALLOW
        static let allow: UInt32 = 0x7fff_0000
    }

    private(set) var program: [clinux_instruction] = []

    /// How many instructions the kernel runs at most.
    public var instructionCount: Int { program.count }

    /// A filter that lets the calls of `rules` through and refuses all others. Calls of the list that this architecture has not are left out.
    /// The first ones are found first, as far as the kernel does not remember its answers.
    public init(allowing rules: [SystemCallRule], otherwise refusal: Refusal) {
        begin()
        for rule in rules { add(rule, refusal.action) }
        program.append(Self.instruction(Code.answer, refusal.action))
    }

    /// A filter that refuses the calls named, and those with a number above `newest`, and lets all others through.
    init(refusing names: [String], newest: UInt32, _ refusal: Refusal) {
        begin()
        program.append(Self.instruction(Code.ifGreater, newest, ifTrue: 0, ifFalse: 1))
        program.append(Self.instruction(Code.answer, refusal.action))
        for name in names {
            guard let number = Self.number(of: name) else { continue }
            program.append(Self.instruction(Code.ifEqual, number, ifTrue: 0, ifFalse: 1))
            program.append(Self.instruction(Code.answer, refusal.action))
        }
        program.append(Self.instruction(Code.answer, Code.allow))
    }

    /// The number of a call on this architecture; nil when it has none, or it is not known here.
    public static func number(of name: String) -> UInt32? {
        let number = unsafe clinux_system_call_number(name)
        return number < 0 ? nil : UInt32(number)
    }

    /// Calls of another architecture (32-bit ones on x86-64) have other numbers: nothing here makes them, so they end the process.
    private mutating func begin() {
        program.append(Self.instruction(Code.load, Code.architecture))
        program.append(Self.instruction(Code.ifEqual, clinux_audit_architecture(), ifTrue: 1, ifFalse: 0))
        program.append(Self.instruction(Code.answer, Refusal.kill.action))
        program.append(Self.instruction(Code.load, Code.number))
    }

    private mutating func add(_ rule: SystemCallRule, _ refusal: UInt32) {
        guard let number = Self.number(of: rule.name) else { return }
        var block: [clinux_instruction] = []
        for condition in rule.conditions { Self.append(condition, refusal, to: &block) }
        block.append(Self.instruction(Code.answer, Code.allow))
        precondition(block.count <= Int(UInt8.max), "the conditions of \(rule.name) fit into one jump")
        // Every block ends with an answer, so that behind it the number is still what was loaded last.
        program.append(Self.instruction(Code.ifEqual, number, ifTrue: 0, ifFalse: UInt8(block.count)))
        program += block
    }

    /// Instructions that answer with `refusal` unless the condition holds.
    private static func append(_ condition: SystemCallRule.Condition, _ refusal: UInt32, to block: inout [clinux_instruction]) {
        switch condition {
        case .isOneOf(let argument, let values):
            block.append(instruction(Code.load, Code.argument(argument)))
            for (index, value) in values.enumerated() {
                block.append(instruction(Code.ifEqual, value, ifTrue: UInt8(values.count - index), ifFalse: 0))
            }
            block.append(instruction(Code.answer, refusal))
        case .hasAll(let argument, let bits):
            block.append(instruction(Code.load, Code.argument(argument)))
            block.append(instruction(Code.and, bits))
            block.append(instruction(Code.ifEqual, bits, ifTrue: 1, ifFalse: 0))
            block.append(instruction(Code.answer, refusal))
        case .lacksSome(let argument, let bits):
            block.append(instruction(Code.load, Code.argument(argument)))
            block.append(instruction(Code.and, bits))
            block.append(instruction(Code.ifEqual, bits, ifTrue: 0, ifFalse: 1))
            block.append(instruction(Code.answer, refusal))
        case .isZero(let argument):
            for half in [Code.argument(argument), Code.argument(argument) + 4] {
                block.append(instruction(Code.load, half))
                block.append(instruction(Code.ifEqual, 0, ifTrue: 1, ifFalse: 0))
                block.append(instruction(Code.answer, refusal))
            }
        }
    }

    private static func instruction(_ code: UInt16, _ operand: UInt32, ifTrue: UInt8 = 0, ifFalse: UInt8 = 0) -> clinux_instruction {
        clinux_instruction(code: code, if_true: ifTrue, if_false: ifFalse, operand: operand)
    }

    /// Installs the filter for good, beside those that are there: in the calling thread and those it starts later, or in all threads of the
    /// process. New privileges must be forbidden before. With `isLogged` the kernel's log tells of refused calls.
    public func install(inAllThreads: Bool, isLogged: Bool) throws(SystemError) {
        try SystemError.check(
            unsafe clinux_filter_system_calls(program, program.count, inAllThreads ? 1 : 0, isLogged ? 1 : 0), "filter system calls")
    }
}
