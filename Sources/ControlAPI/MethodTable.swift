/// One method of the control socket: its name, its parameters, its result and what is told about it.
public protocol ControlMethod: Sendable {
    /// What it takes.
    associatedtype Parameters: DescribedObject
    /// What it gives.
    associatedtype Result: Described

    /// Its place in the table.
    static var name: MethodName { get }
    /// What it does, in one line.
    static var summary: String { get }
    /// The rest of what a caller should know.
    static var details: String { get }
    /// The refusals of its own, beside those that every method has.
    static var errors: [ErrorKind] { get }
    /// Parameters of a call that works, for the documents.
    static var example: Parameters { get }
    /// The parameters of the notifications that it brings about; nil when it brings none.
    static var notification: Schema? { get }
}

extension ControlMethod {
    /// None: nearly all methods are answered and that is all.
    public static var notification: Schema? { nil }
}

/// Every method there is.
///
/// Dispatch in the daemon, the OpenRPC document and docs/control-api.md are all made from this list by exhaustive switches, so that a
/// method cannot be in one and not in another.
public enum MethodName: String, Sendable, CaseIterable, Codable {
    /// Makes an export.
    case exportCreate = "export.create"
    /// Tells all exports.
    case exportList = "export.list"
    /// Tells one export.
    case exportShow = "export.show"
    /// Changes the size of an export.
    case exportResize = "export.resize"
    /// Tries held requests again.
    case exportRetry = "export.retry"
    /// Tells how a virtual machine gets the disk.
    case exportAttach = "export.attach"
    /// Tells the pollers.
    case pollerList = "poller.list"
    /// Moves a queue to another poller.
    case pollerMove = "poller.move"
    /// Spreads the queues over the pollers anew.
    case pollerRebalance = "poller.rebalance"
    /// Tells the counters.
    case statsGet = "stats.get"
    /// Has events sent.
    case eventsSubscribe = "events.subscribe"
    /// Tells what daemon this is.
    case daemonVersion = "daemon.version"
    /// Removes an export.
    case exportDelete = "export.delete"
    /// Tells this interface.
    case discover = "rpc.discover"

    /// The method's description.
    public var method: any ControlMethod.Type {
        switch self {
        case .exportCreate: ExportCreate.self
        case .exportList: ExportList.self
        case .exportShow: ExportShow.self
        case .exportResize: ExportResize.self
        case .exportRetry: ExportRetry.self
        case .exportAttach: ExportAttach.self
        case .pollerList: PollerList.self
        case .pollerMove: PollerMove.self
        case .pollerRebalance: PollerRebalance.self
        case .statsGet: StatsGet.self
        case .eventsSubscribe: EventsSubscribe.self
        case .daemonVersion: DaemonVersion.self
        case .exportDelete: ExportDelete.self
        case .discover: Discover.self
        }
    }
}

extension DescribedObject {
    /// Reads and checks an object that a peer or a person wrote; the error names the member and the reason.
    public init(checking members: [String: JSONValue]) throws(ControlError) {
        try Schema.check(members, fields: Self.fields)
        do {
            self = try JSONText.decode(Self.self, from: .object(members))
        } catch {
            throw ControlError(.internal, "parameters that satisfy their schema cannot be read: \(error)", hint: "please report this")
        }
    }
}

/// A method without parameters.
public struct NoParameters: DescribedObject {
    /// None.
    public static var fields: [Field] { [] }
    /// The only value.
    public init() {}
}
