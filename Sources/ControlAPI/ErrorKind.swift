/// What went wrong with a call, as a word that scripts can match and as JSON-RPC's number.
public enum ErrorKind: String, Codable, Sendable, CaseIterable {
    /// The line is not JSON.
    case parse
    /// The line is JSON but not a request of JSON-RPC 2.0.
    case invalidRequest = "invalid_request"
    /// There is no such method.
    case methodNotFound = "method_not_found"
    /// A parameter is missing, unknown, of the wrong type or out of range; `field` names it.
    case invalidParameters = "invalid_params"
    /// The daemon contradicts itself: a bug.
    case `internal` = "internal"
    /// There is no export of that name.
    case notFound = "not_found"
    /// The name is taken.
    case exists
    /// The thing is in use: a front-end is connected, another process holds the backing or the socket.
    case busy
    /// The backing cannot be opened or is not fit to be served.
    case backing
    /// The socket cannot be made.
    case socket
    /// A limit is reached.
    case limit
    /// This daemon, kernel or backing cannot do that.
    case unsupported
    /// The daemon or the caller lacks a permission.
    case permission
    /// A system call failed.
    case system
    /// The change was made but could not be saved, or saved state cannot be read.
    case state
    /// The daemon is stopping.
    case stopping

    /// The number in `error.code`: JSON-RPC's own, then -32000 and below for this product.
    public var code: Int {
        switch self {
        case .parse: -32700
        case .invalidRequest: -32600
        case .methodNotFound: -32601
        case .invalidParameters: -32602
        case .internal: -32603
        case .notFound: -32000
        case .exists: -32001
        case .busy: -32002
        case .backing: -32003
        case .socket: -32004
        case .limit: -32005
        case .unsupported: -32006
        case .permission: -32007
        case .system: -32008
        case .state: -32009
        case .stopping: -32010
        }
    }

    /// What the kind means, for the documents.
    public var meaning: String {
        switch self {
        case .parse: "the line is not JSON (syntax, encoding, nesting, a name twice, too long)"
        case .invalidRequest: "the line is JSON but no JSON-RPC 2.0 request"
        case .methodNotFound: "there is no such method"
        case .invalidParameters: "a parameter is missing, unknown, of the wrong type or out of range"
        case .internal: "a bug in the daemon"
        case .notFound: "there is no export of that name"
        case .exists: "the name is taken"
        case .busy: "in use: a front-end is connected, or another process holds the backing or the socket"
        case .backing: "the backing cannot be opened or is not fit to be served"
        case .socket: "the export's socket cannot be made"
        case .limit: "a limit of the daemon or of the system is reached"
        case .unsupported: "this daemon, kernel or backing cannot do that"
        case .permission: "the daemon or the caller lacks a permission"
        case .system: "a system call failed"
        case .state: "saved state cannot be written or read"
        case .stopping: "the daemon is stopping"
        }
    }
}
