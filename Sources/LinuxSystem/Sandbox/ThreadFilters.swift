import CLinux

/// The filters of system calls that threads of this process install when they start.
public enum ThreadFilters {
    /// What happens at a forbidden call.
    public enum Mode: Sendable, Equatable {
        /// It fails with EPERM and is written to the kernel's log.
        case refuse
        /// The process dies of SIGSYS.
        case kill
    }

    private struct State {
        var mode: Mode?
        var failure: SystemError?
    }

    private static let state = Locked(State())

    /// Why a thread could not install its filter; it runs with that of the process then.
    public static var failure: SystemError? { state.withLock { $0.failure } }

    /// Installs the filter of the process, in all of its threads, and has threads that start later install their own. Once, at the start; new
    /// privileges must be forbidden before.
    public static func enter(_ mode: Mode) throws(SystemError) {
        clinux_settle_malloc()
        // Two filters, because the kernel's log is told of everything that a filter refuses or of nothing: what is merely missing is not
        // worth a line each time a thread starts.
        let missing = SystemCallFilter(
            refusing: SystemCallLists.missing, newest: SystemCallLists.newest, .errno(SystemError.notImplemented))
        try missing.install(inAllThreads: true, isLogged: false)
        try filter(.process, mode).install(inAllThreads: true, isLogged: true)
        state.withLock { $0.mode = mode }
    }

    /// Narrows the calling thread to what `role` needs, if the process has entered its filter.
    static func enterThread(_ role: SystemCallLists.Role) {
        guard role != .process, let mode = state.withLock({ $0.mode }) else { return }
        do throws(SystemError) {
            try filter(role, mode).install(inAllThreads: false, isLogged: true)
        } catch {
            state.withLock { $0.failure = error }
        }
    }

    /// The filter of a role.
    public static func filter(_ role: SystemCallLists.Role, _ mode: Mode) -> SystemCallFilter {
        SystemCallFilter(
            allowing: SystemCallLists.rules(for: role), otherwise: mode == .kill ? .kill : .errno(SystemError.notPermitted))
    }
}
