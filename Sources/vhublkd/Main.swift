import ArgumentParser
import Daemon
import LinuxSystem

/// Status 0: stopped cleanly. 1: refused to start, or cannot go on. 2: the command line is wrong.
@main
enum Main {
    static func main() {
        // QEMU's back-end program conventions: with this option all others are ignored.
        if CommandLine.arguments.dropFirst().contains("--print-capabilities") {
            StandardStream.output.write(Vhublkd.capabilities + "\n")
            return
        }
        do {
            let command = try Vhublkd.parse()
            let status = DaemonProcess.run(try command.options())
            Vhublkd.exit(withError: ExitCode(status))
        } catch {
            // ArgumentParser's own status for a wrong command line is 64 (EX_USAGE); ours is 2, as for most of a Unix system's commands.
            if Vhublkd.exitCode(for: error) == .validationFailure {
                StandardStream.error.write(Vhublkd.fullMessage(for: error) + "\n")
                Vhublkd.exit(withError: ExitCode(2))
            }
            Vhublkd.exit(withError: error)
        }
    }
}
