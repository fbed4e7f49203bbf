/// Which engine an export asks for.
public enum EngineKind: String, Sendable, CaseIterable {
    /// Whatever is quickest on the backing; see `EngineChoice`.
    case automatic = "auto"
    /// io_uring.
    case ioURing = "io_uring"
    /// Linux's native asynchronous I/O.
    case libaio
}
