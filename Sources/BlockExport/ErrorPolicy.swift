/// What happens to a request that the backing fails.
public enum ErrorPolicy: Sendable, Equatable {
    /// The guest gets the error (the default).
    case report
    /// The request waits and is tried again until the backing does it, or until it is `timeoutNanoseconds` old and fails once more: then
    /// the guest gets the error. 0 waits for ever.
    case hold(timeoutNanoseconds: UInt64)
}
