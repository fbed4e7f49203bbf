/// How the poller of a queue waits when the queue has nothing to do.
public enum PollMode: String, Sendable, CaseIterable, Codable {
    /// Never sleep: the lowest latency, one whole CPU for as long as a ring runs.
    case busy
    /// Spin for a short while after the last work, then sleep until the driver kicks (the default).
    case adaptive
    /// Sleep as soon as there is nothing to do.
    case interrupt
}
