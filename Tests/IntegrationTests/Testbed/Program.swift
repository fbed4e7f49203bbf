import Foundation
import Subprocess

/// A program that ran to its end: its exit status (minus the signal's number when a signal ended it), and what it printed, errors included.
struct Outcome {
    let status: Int32
    let output: String
}

/// A program that runs while a test's body does.
struct RunningProgram: Sendable {
    let name: String
    let process: Int32
    let journal: Journal

    func signal(_ number: Int32) { kill(process, number) }

    /// Whether it still runs; a zombie does not.
    var isRunning: Bool {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let end = text.lastIndex(of: ")") else {
            return false
        }
        return !text[end...].hasPrefix(") Z")
    }
}

enum Program {
    /// env runs a program by its name or by its path and becomes that program, so that the process is the program's own.
    private static let launcher = Executable.name("env")

    /// Swift's crash backtracer takes minutes on a loaded machine and tells a test nothing.
    private static let environment = Subprocess.Environment.inherit.updating(["SWIFT_BACKTRACE": "enable=no"])

    /// Runs a program to its end.
    static func run(_ program: String, _ arguments: [String], limit: Duration = .seconds(120)) async throws -> Outcome {
        try await within(limit, ([program] + arguments).joined(separator: " ")) {
            let result = try await Subprocess.run(
                launcher, arguments: Arguments([program] + arguments), environment: environment, output: .string(limit: 16 << 20),
                error: .combinedWithOutput)
            return Outcome(status: status(result.terminationStatus), output: result.standardOutput)
        }
    }

    /// Runs a program that must succeed (end with one of `statuses`), and answers what it printed.
    @discardableResult
    static func succeed(
        _ program: String, _ arguments: [String], limit: Duration = .seconds(120), statuses: Set<Int32> = [0]
    ) async throws -> String {
        let outcome = try await run(program, arguments, limit: limit)
        guard statuses.contains(outcome.status) else {
            throw TestbedError("\(program) \(arguments.joined(separator: " ")): exit status \(outcome.status)\n\(outcome.output)")
        }
        return outcome.output
    }

    /// Runs a program while `body` does, then asks it to end (SIGTERM, SIGKILL after ten seconds). When `body` fails, what the program printed last is shown with the error.
    static func with<Result: Sendable>(
        _ program: String, _ arguments: [String], _ body: @Sendable (RunningProgram) async throws -> Result
    ) async throws -> Result {
        let journal = Journal()
        let name = URL(filePath: program).lastPathComponent
        let ended = try await Subprocess.run(
            launcher, arguments: Arguments([program] + arguments), environment: environment, input: .none, output: .sequence,
            error: .combinedWithOutput
        ) { execution in
            async let reading: Void = {
                for try await line in execution.standardOutput.strings() { journal.append(line) }
            }()
            let outcome: Swift.Result<Result, any Error>
            do {
                outcome = .success(try await body(RunningProgram(name: name, process: execution.processIdentifier.value, journal: journal)))
            } catch {
                outcome = .failure(TestbedError(error, "\(name) said last", journal.tail(40)))
            }
            await execution.teardown(using: [.send(signal: .terminate, allowedDurationToNextStep: .seconds(10))])
            try await reading
            return outcome
        }
        do { return try ended.closureResult.get() } catch {
            let status = status(ended.terminationStatus)
            // Otherwise it ended when it was asked to.
            guard status != 0, status != -SIGTERM else { throw error }
            throw TestbedError(error, "\(name) ended", status < 0 ? "by signal \(-status)" : "with exit status \(status)")
        }
    }

    private static func status(_ termination: TerminationStatus) -> Int32 {
        switch termination {
        case .exited(let code): Int32(code)
        case .signaled(let signal): -Int32(signal)
        }
    }
}
