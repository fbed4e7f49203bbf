/// Moves a queue to the poller of a CPU.
public enum PollerMove: ControlMethod {
    /// Which queue, and where to.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var export: String
        /// The queue's index.
        public var queue: Int
        /// The CPU whose poller is to run it.
        public var cpu: Int
        /// Members.
        public static var fields: [Field] {
            [
                .required(CodingKeys.export, .string(.exportName), "the export's name"),
                .required(CodingKeys.queue, .natural, "the queue's index"),
                .required(CodingKeys.cpu, .natural, "the CPU whose poller is to run it"),
            ]
        }
        /// Parameters.
        public init(export: String, queue: Int, cpu: Int) {
            (self.export, self.queue, self.cpu) = (export, queue, cpu)
        }
    }
    /// The pollers as they are now.
    public typealias Result = PollerList.Result

    /// `poller.move`
    public static var name: MethodName { .pollerMove }
    /// In one line.
    public static var summary: String { "Moves a queue to the poller of another CPU, at once when it runs, and whenever it starts" }
    /// More.
    public static var details: String {
        """
        A queue that runs takes no new requests until those in flight are done, for half a second at most, and goes on at the other \
        poller; no request is lost. When they take longer, or are held (`on_error` hold), the call is refused and the queue stays. \
        The choice lasts until `poller.rebalance` or the end of the daemon.
        """
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .busy, .unsupported, .system] }
    /// The first queue of the example of `export.create`.
    public static var example: Parameters { Parameters(export: "scratch", queue: 0, cpu: 0) }
}

/// Spreads the queues over the pollers anew.
public enum PollerRebalance: ControlMethod {
    /// None.
    public typealias Parameters = NoParameters

    /// What moved.
    public struct Result: DescribedObject {
        /// Queues that run elsewhere now.
        public var moved: [MovedQueue]
        /// Members.
        public static var fields: [Field] {
            [.required(CodingKeys.moved, .array(of: MovedQueue.schema), "the queues that were moved, with the CPU where each is now")]
        }
        /// See `fields`.
        public static var schema: Schema { .object("PollerRebalanceResult", fields) }
        /// A result.
        public init(moved: [MovedQueue]) { self.moved = moved }
    }

    /// `poller.rebalance`
    public static var name: MethodName { .pollerRebalance }
    /// In one line.
    public static var summary: String { "Moves running queues so that each CPU has about as much to do" }
    /// More.
    public static var details: String {
        """
        What each queue does is looked at for a quarter of a second: a request counts as one, and 16 KiB of data as one more. Where CPUs are \
        alike, or nothing is done, queues of one export spread first, then their number decides. CPU lists and NUMA nodes count as when \
        queues start; moves by hand are forgotten. A queue that cannot be moved now stays where it is.
        """
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [] }
    /// None.
    public static var example: NoParameters { NoParameters() }
}

/// A queue that was moved.
public struct MovedQueue: DescribedObject {
    /// The export's name.
    public var export: String
    /// The queue's index.
    public var queue: Int
    /// The CPU whose poller runs it now.
    public var cpu: Int
    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.export, .string(.exportName), "the export's name"),
            .required(CodingKeys.queue, .natural, "the queue's index"),
            .required(CodingKeys.cpu, .natural, "the CPU whose poller runs it now"),
        ]
    }
    /// A queue and where it is.
    public init(export: String, queue: Int, cpu: Int) {
        (self.export, self.queue, self.cpu) = (export, queue, cpu)
    }
}
