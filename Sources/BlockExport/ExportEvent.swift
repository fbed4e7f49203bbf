/// Something that happened to an export, told to whoever watches it (log, event stream); control thread.
public enum ExportEvent: Sendable, Equatable {
    /// A front-end connected; its process id and user id where the kernel tells them.
    case connected(processID: Int32?, userID: UInt32?)
    /// A front-end came while another holds the export; it was turned away.
    case refusedSecondFrontend(processID: Int32?)
    /// The front-end and the export agreed on these virtio feature bits.
    case negotiated(features: UInt64, names: [String])
    /// A ring began to be served on the poller of this CPU.
    case ringStarted(queue: Int, cpu: Int)
    /// A ring stopped; nothing touches its memory any more.
    case ringStopped(queue: Int)
    /// A ring is broken and no longer served until it is set up anew.
    case ringFailed(queue: Int, reason: String)
    /// So many requests that were left in flight, by an earlier daemon or when the ring stopped, are done again.
    case recovered(queue: Int, requests: Int)
    /// The front-end logs what the device writes, or no more: its virtual machine migrates.
    case migrating(Bool)
    /// The device's state was saved, or one that another device had was loaded.
    case stateMoved(isLoaded: Bool)
    /// The backing failed requests, first with this error in words, and they are held; told once until they are held no more.
    case held(error: String)
    /// No request is held any more. Since `held` was told, that many were, and `timeouts` of them got their error in the end.
    case holdEnded(requests: UInt64, timeouts: UInt64, nanoseconds: UInt64)
    /// The capacity changed, in bytes.
    case resized(bytes: UInt64)
    /// The front-end went away, or was sent away for this reason.
    case disconnected(reason: String?)
    /// Something worth a line in the log that harms nobody, said once per connection and cause.
    case notice(String)
}
