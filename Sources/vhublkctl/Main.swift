import ArgumentParser

/// Status 0: done. 1: refused, or the daemon cannot be reached. 2: the command line is wrong.
@main
enum Main {
    static func main() {
        do {
            var command = try Vhublkctl.parseAsRoot()
            try command.run()
        } catch let failure as CommandFailure {
            Terminal.error(failure.text)
            Vhublkctl.exit(withError: ExitCode(1))
        } catch let missing as CommandMissing {
            Terminal.error("Error: a command is missing\n\n" + missing.help)
            Vhublkctl.exit(withError: ExitCode(2))
        } catch {
            // ArgumentParser's own status for a wrong command line is 64 (EX_USAGE); ours is 2, as for most of a Unix system's commands.
            if Vhublkctl.exitCode(for: error) == .validationFailure {
                Terminal.error(Vhublkctl.fullMessage(for: error))
                Vhublkctl.exit(withError: ExitCode(2))
            }
            Vhublkctl.exit(withError: error)
        }
    }
}
