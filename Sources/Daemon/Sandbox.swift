import BlockIO
import ControlAPI
import LinuxSystem

/// What the daemon gives up at its start, and what came of it.
///
/// Everything here holds for the calling thread and those it starts later, so it is entered by the first thread before there is another.
/// docs/sandbox.md tells the whole story.
struct Sandbox: Sendable {
    /// What was given up, as the kernel confirms it.
    private(set) var active: [String] = []
    /// What was not, and why.
    private(set) var missing: [String] = []
    /// How many descriptors the process may open; what every Linux process may, until it is known better.
    private(set) var descriptorLimit: UInt64 = 1024

    /// Capabilities that exports made at run time may need of a daemon that root runs: images of other users, and sockets for groups that
    /// root is not in. Raw devices, io_uring, libaio, discard and NUMA need none.
    static let keptCapabilities: Set<Capability> = [.dacOverride, .chown]

    /// Enters what `settings` ask for.
    ///
    /// - Throws: in mode `strict`, what could not be entered.
    static func enter(_ settings: DaemonSettings, rules: [Landlock.Rule]?) throws(ControlError) -> Sandbox {
        var sandbox = Sandbox()
        sandbox.raiseLimits()
        sandbox.giveUp("new privileges") { () throws(SystemError) in
            try ProcessSelf.forbidNewPrivileges()
            return ProcessSelf.forbidsNewPrivileges ? "no new privileges" : nil
        }
        if settings.sandbox == .off {
            sandbox.missing.append("capabilities, system calls and files: the sandbox is off")
        } else {
            sandbox.giveUp("capabilities") { () throws(SystemError) in
                let left = try Capability.keep(settings.sandbox == .strict ? [] : keptCapabilities)
                return "capabilities: " + (left.isEmpty ? "none" : left.map(\.text).sorted().joined(separator: ", "))
            }
        }
        sandbox.forbidDumps(settings)
        sandbox.restrictRings()
        if settings.sandbox != .off {
            sandbox.restrictFiles(rules)
            sandbox.filterSystemCalls(settings.sandbox)
        }
        if ProcessSelf.user != 0 { sandbox.active.append("unprivileged user \(ProcessSelf.user)") }
        if settings.sandbox == .strict, !sandbox.missing.isEmpty {
            let hint = "allow it to the service, or choose --sandbox on, which goes without"
            throw ControlError(
                .unsupported, "the sandbox cannot be entered: " + sandbox.missing.joined(separator: "; "), field: "sandbox", hint: hint)
        }
        return sandbox
    }

    private mutating func giveUp(_ what: String, _ body: () throws(SystemError) -> String?) {
        do throws(SystemError) {
            if let text = try body() { active.append(text) } else { missing.append("\(what): the kernel does not confirm it") }
        } catch {
            missing.append("\(what): \(error.reason) (\(error.call))")
        }
    }

    private mutating func raiseLimits() {
        // Not a protection: without room the daemon serves fewer exports, or copies.
        descriptorLimit = (try? ProcessSelf.raiseDescriptorLimit()) ?? descriptorLimit
        try? ProcessSelf.raiseLockedMemoryLimit()
    }

    private mutating func forbidDumps(_ settings: DaemonSettings) {
        if settings.configuration.coreDumps == true {
            // Chosen for debugging: strict does not take offence.
            return active.append("core dumps and tracing are allowed, as asked for")
        }
        giveUp("core dumps and tracing") { () throws(SystemError) in
            try ProcessSelf.forbidDumps()
            return ProcessSelf.forbidsDumps ? "no core dumps, no tracing" : nil
        }
    }

    /// Rings are restricted when they are made, in any mode; this tells whether the kernel can.
    private mutating func restrictRings() {
        switch URingSupport.restriction() {
        case .active: active.append("io_uring: rings read, write and flush, and do nothing else")
        case .missing(let reason): missing.append("io_uring: rings cannot be restricted to reading and writing: \(reason)")
        case .noRings(let reason): active.append("io_uring: none (\(reason))")
        }
    }

    private mutating func restrictFiles(_ rules: [Landlock.Rule]?) {
        // What a disk server does nowhere, whatever its exports are.
        let never: Landlock.Rights = [
            .execute, .makeCharacterDevice, .makeBlockDevice, .makePipe, .makeLink, .removeFolder, .move,
        ]
        // A service manager may be told over an abstract socket.
        let notifiesAbstract = ProcessSelf.environment("NOTIFY_SOCKET")?.hasPrefix("@") == true
        giveUp("files") { () throws(SystemError) in
            let landlock = Landlock(
                handled: rules == nil ? never : Landlock.Rights(rawValue: .max), rules: rules ?? [],
                forbidsAbstractSockets: !notifiesAbstract)
            let version = try landlock.restrict()
            let reach = rules == nil ? "no programs, no new devices, pipes and links" : "only the folders of backings, sockets and state"
            let more = version >= 6 ? ", no TCP, no signals to others" : version >= 4 ? ", no TCP" : ""
            return "landlock \(version): \(reach)\(more)"
        }
    }

    private mutating func filterSystemCalls(_ mode: SandboxMode) {
        giveUp("system calls") { () throws(SystemError) in
            try ThreadFilters.enter(mode == .strict ? .kill : .refuse)
            guard ProcessSelf.filtersSystemCalls else { return nil }
            let counts = SystemCallLists.Role.allCases.map { SystemCallLists.rules(for: $0).count }
            let otherwise = mode == .strict ? "end the daemon" : "fail and are logged"
            return "seccomp: \(counts[0]) system calls, \(counts[1]) in pollers, \(counts[2]) in workers; others \(otherwise)"
        }
    }
}
