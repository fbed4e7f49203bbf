import Foundation
import Testing

/// A program of this package, built beside the tests.
enum Program {
    /// The folder the tests were built in.
    static let folder: URL = {
        // The test runner is given the bundle's path; the programs lie beside it.
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return URL(filePath: bundle).deletingLastPathComponent()
    }()

    struct Outcome {
        var status: Int32
        var output: String
        var error: String
    }

    static func process(_ name: String, _ arguments: [String], environment: [String: String] = [:]) -> Process {
        let process = Process()
        process.executableURL = name.hasPrefix("/") ? URL(filePath: name) : folder.appending(path: name)
        process.arguments = arguments
        var all = ProcessInfo.processInfo.environment
        all["VHUBLK_CONTROL"] = nil
        all["NOTIFY_SOCKET"] = nil
        all["SWIFT_BACKTRACE"] = "enable=no"
        process.environment = all.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        return process
    }

    /// Runs a program to its end.
    static func run(_ name: String, _ arguments: [String], environment: [String: String] = [:]) throws -> Outcome {
        let process = process(name, arguments, environment: environment)
        let folder = try TemporaryFolder()
        // Files rather than pipes: nothing has to be read while the program runs.
        let output = URL(filePath: try folder.write("output", ""))
        let error = URL(filePath: try folder.write("error", ""))
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: error)
        try process.run()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus,
            output: try String(contentsOf: output, encoding: .utf8), error: try String(contentsOf: error, encoding: .utf8))
    }
}
