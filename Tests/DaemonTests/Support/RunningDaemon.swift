import ControlAPI
import Foundation
import LinuxSystem
import Testing

/// A vhublkd of its own for a test, killed when the test lets go of it.
final class RunningDaemon {
    let folder: TemporaryFolder
    private let arguments: [String]?
    private var process: Process

    var control: String { folder.path + "/control.sock" }
    var stateFolder: String { folder.path + "/state" }
    var pid: Int32 { process.processIdentifier }
    var log: String { (try? folder.read("log")) ?? "" }

    /// Starts a daemon with many exports, or with the given arguments, and waits until it serves.
    init(
        folder: TemporaryFolder? = nil, arguments: [String]? = nil, environment: [String: String] = [:], waitsForControl: Bool = true,
        program: String = "vhublkd", input: FileDescriptor? = nil
    ) throws {
        self.folder = try folder ?? TemporaryFolder()
        self.arguments = arguments
        process = try Self.start(self.folder, arguments, environment, program, input)
        if waitsForControl { try waitForControl() }
    }

    deinit {
        process.terminate()
        kill()
    }

    private static func start(
        _ folder: TemporaryFolder, _ arguments: [String]?, _ environment: [String: String], _ program: String, _ input: FileDescriptor?
    ) throws -> Process {
        let standard = ["--control", folder.path + "/control.sock", "--state-dir", folder.path + "/state"]
        let process = Program.process(program, arguments ?? standard, environment: environment)
        if let input { process.standardInput = FileHandle(fileDescriptor: input.rawValue, closeOnDealloc: false) }
        let log = try FileHandle(forWritingTo: URL(filePath: try folder.write("log", "")))
        process.standardError = log
        process.standardOutput = log
        try process.run()
        return process
    }

    /// Starts it again after it ended, with the arguments of before.
    func restart() throws {
        process = try Self.start(folder, arguments, [:], "vhublkd", nil)
        try waitForControl()
    }

    /// Its exports once none of them is being opened any more.
    func settledExports() throws -> [ExportInfo] {
        _ = waits { (try? self.call(ExportList.self, NoParameters()).exports.contains { $0.state == .starting }) == false }
        return try call(ExportList.self, NoParameters()).exports
    }

    private func waitForControl() throws {
        let isThere = waits { (try? ControlClient(path: self.control)) != nil || !self.process.isRunning }
        try #require(isThere && process.isRunning, "vhublkd did not start: \(log)")
    }

    func client() throws -> ControlClient { try ControlClient(path: control) }

    func call<Method: ControlMethod>(_ method: Method.Type, _ parameters: Method.Parameters) throws -> Method.Result {
        try client().call(method, parameters)
    }

    /// The refusal of a call that must not work.
    func refusal(_ method: MethodName, _ parameters: [String: JSONValue]) throws -> ControlError {
        let failure = #expect(throws: ControlClient.Failure.self) { try client().call(method.rawValue, parameters) }
        guard case .refused(let error)? = failure else {
            Issue.record("not a refusal: \(String(describing: failure))")
            return ControlError(.internal, "")
        }
        return error
    }

    func signal(_ number: Int32) { _ = Foundation.kill(pid, number) }

    /// Its exit status once it has ended by itself, within ten seconds.
    func waitForEnd() throws -> Int32 {
        try #require(waits { !self.process.isRunning }, "vhublkd does not end: \(log)")
        return process.terminationStatus
    }

    func kill() {
        signal(SIGKILL)
        process.waitUntilExit()
    }

    /// Runs vhublkctl against this daemon.
    func control(_ arguments: [String]) throws -> Program.Outcome {
        try Program.run("vhublkctl", arguments, environment: ["VHUBLK_CONTROL": control])
    }
}

/// Whether `condition` becomes true within ten seconds.
func waits(_ condition: () -> Bool) -> Bool {
    let deadline = MonotonicClock.now() + 10_000_000_000
    while MonotonicClock.now() < deadline {
        if condition() { return true }
        ProcessSelf.sleep(nanoseconds: 5_000_000)
    }
    return condition()
}
