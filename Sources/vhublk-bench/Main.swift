import ArgumentParser
import LinuxSystem
import VhostUserFrontend

/// The command line: a run by default, or a probe. Exit status 0 for success, 1 when the device or verification failed, 2 for usage.
@main
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vhublk-bench",
        abstract: "Measures and verifies vhost-user-blk devices without a virtual machine.",
        discussion: """
            Options have fio's names and meanings where fio has them. Each job is a thread with a queue of its own.

              vhublk-bench --socket /run/vhublk/db0.sock --rw=randread --iodepth=32 --runtime=10 --time_based
              vhublk-bench --socket /run/vhublk/db0.sock --rw=randwrite --size=1g --verify=crc32c --numjobs=4
              vhublk-bench probe /run/vhublk/db0.sock

            All options: vhublk-bench run --help
            """,
        subcommands: [RunCommand.self, ProbeCommand.self], defaultSubcommand: RunCommand.self)

    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error as BenchError {
            fail("\(error)", status: error.kind == .usage ? 2 : 1)
        } catch let error as FrontendError {
            fail(error.message + (error.hint.map { "\n  \($0)" } ?? ""), status: 1)
        } catch let error as SystemError {
            fail("\(error)", status: 1)
        } catch {
            // Help and version end with 0 and go to standard output; what ArgumentParser refuses is usage: 2, as documented.
            let status = exitCode(for: error)
            if status == .validationFailure { fail(fullMessage(for: error), status: 2) }
            exit(withError: error)
        }
    }

    private static func fail(_ message: String, status: Int32) -> Never {
        StandardStream.error.write(message.hasPrefix("Error:") ? message + "\n" : "vhublk-bench: \(message)\n")
        exit(withError: ExitCode(status))
    }
}
