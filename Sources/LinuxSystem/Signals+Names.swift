import Glibc

extension Signals {
    /// Asks a process to end: what a service manager sends.
    public static let terminate = SIGTERM
    /// Ctrl-C in a terminal.
    public static let interrupt = SIGINT
    /// The terminal went away, or by convention: read the configuration again.
    public static let hangUp = SIGHUP
    /// Writing where nobody reads any more.
    public static let brokenPipe = SIGPIPE
}
