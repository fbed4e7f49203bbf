import BlockExport
import ControlAPI

@testable import Daemon

/// A line of the control socket: JSON, the request in it, the method's parameters.
enum ControlTarget {
    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        let request: RPCRequest
        do throws(RPCRequest.Failure) {
            request = try RPCRequest(line: input)
        } catch {
            try checkAnswer(error.id, .failure(error.error))
            return 0
        }
        // What was understood means the same when it is written and read again.
        guard let line = try? request.line(), let again = try? RPCRequest(line: Array(line.dropLast())) else {
            throw FuzzFailure("the request \(request) cannot be written and read again")
        }
        try FuzzFailure.require(again == request, "\(request) is read as \(again) the second time")
        if request.method == EventsSubscribe.notificationName { return try checkEvent(request) }
        guard let name = MethodName(rawValue: request.method) else { return 1 }
        try check(name.method, request)
        return 2
    }

    private static func check(_ method: any ControlMethod.Type, _ request: RPCRequest) throws(FuzzFailure) {
        func open<Method: ControlMethod>(_ method: Method.Type) throws(FuzzFailure) {
            let parameters: Method.Parameters
            do throws(ControlError) {
                parameters = try Method.Parameters(checking: request.parameters)
            } catch {
                try checkRefusal(error)
                return try checkAnswer(request.id ?? .null, .failure(error))
            }
            if let export = parameters as? ExportParameters { try checkExport(export) }
        }
        try open(method)
    }

    /// An event that a client reads is the same when it is told on, and goes by the schema that it has.
    private static func checkEvent(_ request: RPCRequest) throws(FuzzFailure) -> Int {
        guard let event = try? JSONText.decode(EventInfo.self, from: .object(request.parameters)) else { return 1 }
        guard let value = try? JSONText.value(of: event), let again = try? JSONText.decode(EventInfo.self, from: value) else {
            throw FuzzFailure("\(event) cannot be told on")
        }
        try FuzzFailure.require(again == event, "\(event) is told on as \(again)")
        return 2
    }

    /// Parameters that pass can be kept and give back the same; what the daemon makes of them is in order, or refused with a reason.
    static func checkExport(_ parameters: ExportParameters) throws(FuzzFailure) {
        guard case .object(let members)? = try? JSONText.value(of: parameters), let again = try? ExportParameters(checking: members) else {
            throw FuzzFailure("the parameters \(parameters) pass, and do not when they are written and read again")
        }
        try FuzzFailure.require(again == parameters, "\(parameters) is read as \(again) the second time")
        guard let settings = try? DaemonSettings(DaemonOptions(mode: .exports(configuration: nil, stateDirectory: nil), control: "/c"))
        else {
            throw FuzzFailure("a daemon without a configuration file has no settings")
        }
        do throws(ControlError) {
            let configuration = try ExportConfiguration(ExportDefaults().completing(parameters), descriptor: nil, settings)
            do throws(ExportError) {
                _ = try configuration.validated()
            } catch {
                throw ControlError(error)
            }
        } catch {
            try checkRefusal(error)
        }
    }

    /// A refusal says why and what to do, and is no confession of a contradiction.
    private static func checkRefusal(_ error: ControlError) throws(FuzzFailure) {
        try FuzzFailure.require(error.kind != .internal, "a contradiction: \(error)")
        try FuzzFailure.require(!error.message.isEmpty && error.data?.hint?.isEmpty == false, "a refusal without words: \(error)")
    }

    /// The answer is one line that a client can read.
    private static func checkAnswer(_ id: RPCIdentifier, _ outcome: Result<JSONValue, ControlError>) throws(FuzzFailure) {
        let response = RPCResponse(id: id, outcome: outcome)
        guard let line = try? response.line(), line.last == UInt8(ascii: "\n"), !line.dropLast().contains(UInt8(ascii: "\n")) else {
            throw FuzzFailure("the answer \(response) is not one line")
        }
        try FuzzFailure.require(RPCResponse(line: Array(line.dropLast())) == response, "no client can read the answer \(response)")
    }
}
