/// What a fuzzer found: a promise that an input breaks. Crashes, hangs and sanitizer reports end the process and need no words here.
struct FuzzFailure: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }

    /// Fails unless `condition` holds.
    static func require(_ condition: Bool, _ promise: @autoclosure () -> String) throws(FuzzFailure) {
        if !condition { throw FuzzFailure(promise()) }
    }
}

/// The fuzzers. To add one: a case here, a line in `run`, a folder `Tests/Fuzz/Corpus/NAME` with at least one input.
enum FuzzTarget: String, CaseIterable, Sendable {
    /// Descriptor chains and request headers, through ring, parser, checks and completion.
    case chains
    /// vhost-user messages with descriptors, through socket, codec and session.
    case messages
    /// An inflight region and the ring beside it, through crash after crash.
    case inflight
    /// A line of the control socket.
    case control
    /// A configuration file.
    case configuration
    /// A file in the state directory.
    case state
    /// The stream of a device's state that comes from another host.
    case deviceState = "device-state"

    /// Runs one input; the same input does the same each time. Returns how far it got, in the target's own unit (requests answered, messages
    /// answered, requests recovered, ...): 0 for an input that was refused at the door.
    func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        switch self {
        case .chains: try ChainTarget.run(input)
        case .messages: try MessageTarget.run(input)
        case .inflight: try InflightTarget.run(input)
        case .control: try ControlTarget.run(input)
        case .configuration: try ConfigurationTarget.run(input)
        case .state: try StateTarget.run(input)
        case .deviceState: try DeviceStateTarget.run(input)
        }
    }
}
