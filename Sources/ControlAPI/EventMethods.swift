/// Has events sent over the connection.
public enum EventsSubscribe: ControlMethod {
    /// Whose.
    public struct Parameters: DescribedObject {
        /// The export's name.
        public var name: String?
        /// Members.
        public static var fields: [Field] {
            [.optional(CodingKeys.name, .string(.exportName), "the export whose events are wanted", default: "all exports")]
        }
        /// Parameters.
        public init(name: String? = nil) { self.name = name }
    }

    /// Where the events begin.
    public struct Result: DescribedObject {
        /// The number of the last event before them.
        public var sequence: UInt64
        /// Members.
        public static var fields: [Field] {
            [.required(CodingKeys.sequence, .natural, "the number of the daemon's last event before those that are sent")]
        }
        /// See `fields`.
        public static var schema: Schema { .object("EventsSubscribeResult", fields) }
        /// A result.
        public init(sequence: UInt64) { self.sequence = sequence }
    }

    /// The `method` of the notifications.
    public static let notificationName = "event"

    /// `events.subscribe`
    public static var name: MethodName { .eventsSubscribe }
    /// In one line.
    public static var summary: String { "Has what happens from now on told over this connection" }
    /// More.
    public static var details: String {
        """
        Each event comes as a notification, a line `{"jsonrpc":"2.0","method":"event","params":EventInfo}`, until the connection ends; \
        requests go on being answered in between. Nothing waits for a reader: up to 1024 events are kept for one that does not keep up, \
        and an event `lost` stands in the place of those that it missed. A second call on the same connection changes whose events are \
        wanted. At most 64 connections can be subscribed.
        """
    }
    /// Refusals.
    public static var errors: [ErrorKind] { [.notFound, .limit] }
    /// All.
    public static var example: Parameters { Parameters() }
    /// What comes.
    public static var notification: Schema? { EventInfo.schema }
}
