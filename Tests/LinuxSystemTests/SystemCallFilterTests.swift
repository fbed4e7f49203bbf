import CLinux
import Glibc
import Synchronization
import Testing

@testable import LinuxSystem

/// Filters of system calls, each tried in a thread of its own, which ends with its filter.
@Suite struct SystemCallFilterTests {
    /// Runs `body` in a thread of its own and returns what it says.
    static func inThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) throws -> Result {
        let result = Locked<Swift.Result<Result, any Error>?>(nil)
        let thread = try PinnedThread(name: "sandboxed") {
            let answer = Swift.Result { try body() }
            result.withLock { $0 = answer }
        }
        thread.join()
        return try #require(result.withLock { $0 }).get()
    }

    /// Makes a call by name; the answer or the negated errno.
    static func call(_ name: String, _ arguments: Int...) -> Int64 {
        let all = arguments + [Int](repeating: 0, count: 6 - arguments.count)
        return unsafe clinux_system_call(Int(clinux_system_call_number(name)), all)
    }

    private static func enter(_ rules: [SystemCallRule]) throws {
        try ProcessSelf.forbidNewPrivileges()
        try SystemCallFilter(allowing: rules + SystemCallLists.everyThread, otherwise: .errno(EPERM)).install(
            inAllThreads: false, isLogged: false)
    }

    @Test func whatIsNotOnTheListFails() throws {
        let (forbidden, allowed) = try Self.inThread {
            try Self.enter([])
            return (Self.call("mkdirat", -1, 0, 0), Self.call("getppid"))
        }
        #expect(forbidden == -Int64(EPERM))
        #expect(allowed == -Int64(EPERM), "getppid is on no list")
        #expect(try Self.inThread { Self.call("getppid") } == Int64(getppid()), "the filter was that thread's alone")
    }

    @Test func argumentsCount() throws {
        let answers = try Self.inThread {
            try Self.enter([
                SystemCallRule("socket", .isOneOf(argument: 0, [UInt32(AF_UNIX), 77])),
                SystemCallRule("getppid", .hasAll(argument: 0, 0b101)), SystemCallRule("getpgid", .lacksSome(argument: 1, 0b110)),
                SystemCallRule("umask", .isZero(argument: 1), .isOneOf(argument: 0, [0o22])),
            ])
            return [
                Self.call("socket", Int(AF_INET), 1, 0), Self.call("socket", 77, 1, 0), Self.call("getppid", 0b111),
                Self.call("getppid", 0b110), Self.call("umask", 0o22, 1 << 40), Self.call("umask", 0o22, 1), Self.call("umask", 0),
                Self.call("getpgid", 0, 0b110),
                // What may be left in the upper half does not matter where the kernel looks at 32 bits.
                Self.call("socket", 1 << 32 | 77, 1, 0), Self.call("getpgid", 0, 0b100),
            ]
        }
        #expect(answers[0] == -Int64(EPERM) && answers[1] == -Int64(EAFNOSUPPORT))
        #expect(answers[2] == Int64(getppid()) && answers[3] == -Int64(EPERM))
        #expect(answers[4...7].allSatisfy { $0 == -Int64(EPERM) })
        #expect(answers[8] == -Int64(EAFNOSUPPORT) && answers[9] == Int64(getpgid(0)))
        let umask = try Self.inThread {
            try Self.enter([SystemCallRule("umask", .isZero(argument: 1), .isOneOf(argument: 0, [0o22]))])
            return Self.call("umask", 0o22)
        }
        #expect(umask >= 0)
    }

    @Test(arguments: SystemCallLists.Role.allCases)
    func everyRoleDoesItsWork(role: SystemCallLists.Role) throws {
        let answers = try Self.inThread {
            try ProcessSelf.forbidNewPrivileges()
            try ThreadFilters.filter(role, .refuse).install(inAllThreads: false, isLogged: false)
            let length = 4096
            return [
                // Never: programs, tracing, other processes' memory, other networks, memory to run code from, limits, user ids.
                Self.call("execve", 0, 0, 0), Self.call("ptrace", 0), Self.call("process_vm_readv", Int(getpid()), 0, 0, 0, 0, 0),
                Self.call("socket", Int(AF_INET), 1, 0), Self.call("setuid", 0), Self.call("kill", Int(getpid()), 0),
                Self.call("mmap", 0, length, Int(PROT_WRITE | PROT_EXEC), Int(MAP_PRIVATE | MAP_ANONYMOUS), -1, 0),
                Self.call("mprotect", 0, length, Int(PROT_EXEC)), Self.call("clone", 0), Self.call("prlimit64", 0, 7, 1, 0),
                Self.call("ioctl", 0, 0x2285), Self.call("tgkill", 1, 1, 0), Self.call("prctl", 4, 1), Self.call("bpf", 0, 0, 0),
                Self.call("mount", 0, 0, 0, 0, 0), Self.call("unshare", 0), Self.call("userfaultfd", 0),
            ]
        }
        for (index, answer) in answers.enumerated() { #expect(answer == -Int64(EPERM), "call \(index) was answered with \(answer)") }
        let works = try Self.inThread {
            try ProcessSelf.forbidNewPrivileges()
            try ThreadFilters.filter(role, .refuse).install(inAllThreads: false, isLogged: false)
            let event = try EventFD()
            event.signal()
            let memory = try MemoryMapping(anonymous: 1 << 20)
            unsafe memory.base.storeBytes(of: 7, as: UInt8.self)
            let inner = try PinnedThread(name: "inner") {}
            inner.join()
            return event.drain()
        }
        #expect(works == 1)
    }

    @Test func pollersAndWorkersDoLess() {
        let process = Set(SystemCallLists.rules(for: .process).map(\.name))
        let poller = Set(SystemCallLists.rules(for: .poller).map(\.name))
        let worker = Set(SystemCallLists.rules(for: .worker).map(\.name))
        #expect(poller.isStrictSubset(of: process) && worker.isStrictSubset(of: process))
        for name in ["openat", "open", "unlink", "connect", "sendmsg", "accept4", "socket", "rename", "io_uring_setup"] {
            #expect(!poller.contains(name))
        }
        for name in ["accept4", "bind", "listen"] { #expect(!worker.contains(name)) }
        #expect(worker.contains("openat") && poller.contains("io_uring_enter"))
    }

    /// A name with a typing error would be no rule at all, without a word.
    @Test func everyNameIsACall() {
        for rule in SystemCallLists.rules(for: .process) {
            #expect(SystemCallFilter.number(of: rule.name) != nil || Self.onlyElsewhere.contains(rule.name), "\(rule.name)")
        }
        #expect(SystemCallFilter.number(of: "no_such_call") == nil)
    }

    #if arch(x86_64)
        static let onlyElsewhere: Set<String> = []
    #else
        static let onlyElsewhere: Set<String> = [
            "epoll_wait", "poll", "open", "stat", "lstat", "access", "readlink", "rename", "unlink", "mkdir", "chmod", "lchown",
            "getrlimit",
        ]
    #endif

    /// What a C library may do without is missing rather than forbidden: it finds another way.
    @Test func threadsStartWithoutClone3() throws {
        let answers = try Self.inThread {
            try ProcessSelf.forbidNewPrivileges()
            try SystemCallFilter(refusing: SystemCallLists.missing, newest: SystemCallLists.newest, .errno(ENOSYS)).install(
                inAllThreads: false, isLogged: false)
            let clone = Self.call("clone3", 0, 0)
            let future = unsafe clinux_system_call(Int(SystemCallLists.newest) + 1, [0, 0, 0, 0, 0, 0])
            let hasRun = Atomic<Bool>(false)
            let thread = try PinnedThread(name: "inner") { hasRun.store(true, ordering: .relaxed) }
            thread.join()
            return (clone, future, hasRun.load(ordering: .relaxed))
        }
        #expect(answers.0 == -Int64(ENOSYS) && answers.1 == -Int64(ENOSYS) && answers.2)
    }

    @Test func strictFiltersEndTheProcess() async {
        await #expect(processExitsWith: .signal(SIGSYS)) {
            try ProcessSelf.forbidNewPrivileges()
            try ThreadFilters.enter(.kill)
            _ = SystemCallFilterTests.call("getppid")
        }
    }

    @Test func everyThreadOfAProcessIsFiltered() async {
        await #expect(processExitsWith: .exitCode(42)) {
            try ProcessSelf.forbidNewPrivileges()
            try ThreadFilters.enter(.refuse)
            // Pollers narrow themselves when they start: what the process may do, they may not.
            let allowed = try SystemCallFilterTests.inThread { SystemCallFilterTests.call("mkdirat", -1, 0, 0) }
            let result = Locked<Int64>(0)
            let poller = try PinnedThread(name: "poller", role: .poller) {
                let answer = SystemCallFilterTests.call("mkdirat", -1, 0, 0)
                result.withLock { $0 = answer }
            }
            poller.join()
            let isRight = allowed == -Int64(EFAULT) && result.withLock { $0 } == -Int64(EPERM) && ThreadFilters.failure == nil
            exit(isRight && ProcessSelf.filtersSystemCalls ? 42 : 1)
        }
    }
}
