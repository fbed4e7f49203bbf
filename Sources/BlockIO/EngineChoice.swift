import LinuxSystem

/// Which engine a backing gets, and why.
public struct EngineChoice: Equatable, Sendable {
    /// The engines there are.
    public enum Engine: String, Sendable {
        case null
        case ioURing = "io_uring"
        case libaio
    }

    /// The engine.
    public var engine: Engine
    /// Why it is this one, for people.
    public var reason: String
    /// Whether completions are polled (IOPOLL).
    public var pollsCompletions = false

    /// Chooses for `backing`. An engine that was asked for is taken, or refused if the kernel does not allow it; so are polled completions,
    /// which `.automatic` takes io_uring for. Waits for the disk.
    public static func choose(
        _ kind: EngineKind, for backing: Backing, pollsCompletions: Bool = false
    ) throws(BackingError) -> EngineChoice {
        let wanted = pollsCompletions && kind == .automatic && backing.kind != .null ? .ioURing : kind
        var choice = try choose(
            wanted, name: backing.spec.description, traits: Traits(backing), refusal: backing.kind == .null ? nil : URingSupport.refusal())
        guard pollsCompletions else { return choice }
        try PolledCompletions.check(backing, engine: choice.engine)
        choice.pollsCompletions = true
        choice.reason = "polled completions were asked for"
        return choice
    }

    /// What the choice depends on.
    struct Traits: Equatable, Sendable {
        var isNull: Bool
        var isDirect: Bool
        var supportsNowait: Bool
        var isMemory: Bool
    }

    static func choose(
        _ kind: EngineKind, name: String, traits: Traits, refusal: SystemError?
    ) throws(BackingError) -> EngineChoice {
        if traits.isNull { return EngineChoice(engine: .null, reason: "a null disk needs none") }
        switch kind {
        case .libaio: return EngineChoice(engine: .libaio, reason: "asked for")
        case .ioURing:
            if let refusal {
                throw BackingError(
                    .system, path: name, "io_uring is not available: \(refusal.reason)",
                    hint: "take another engine, or look at the sysctl kernel.io_uring_disabled and the service's seccomp filter",
                    cause: refusal)
            }
            return EngineChoice(engine: .ioURing, reason: "asked for")
        case .automatic:
            if let refusal { return EngineChoice(engine: .libaio, reason: "io_uring is not available (\(refusal.reason))") }
            if traits.supportsNowait { return EngineChoice(engine: .ioURing, reason: "the backing has a NOWAIT path") }
            // Without a NOWAIT path io_uring hands every transfer to a thread. Where a transfer is a copy in memory, or the file system
            // does direct transfers asynchronously, starting it in place is quicker by far.
            if traits.isMemory { return EngineChoice(engine: .libaio, reason: "the backing is memory without a NOWAIT path") }
            if traits.isDirect { return EngineChoice(engine: .libaio, reason: "the backing has no NOWAIT path") }
            // Through the page cache libaio waits for the disk inside io_submit, and every other queue of the poller with it.
            return EngineChoice(engine: .ioURing, reason: "buffered transfers must wait in io_uring's threads, not in the poller")
        }
    }
}

extension EngineChoice.Traits {
    init(_ backing: Backing) {
        self.init(
            isNull: backing.kind == .null, isDirect: backing.isDirect, supportsNowait: backing.supportsNowait, isMemory: backing.isMemory)
    }
}
