import ArgumentParser
import LinuxSystem

/// `vhublk-bench --socket PATH --rw=...`: measures and verifies a device.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Measure and verify a vhost-user-blk device (the default).")

    @OptionGroup
    var options: BenchOptions

    func run() throws {
        var bench = try BenchRun(options)
        let whole = try bench.run()
        let result = options.output.isGrouped ? whole.grouped : whole
        try show(text(result))
        if let failure = whole.firstFailure {
            // In JSON the failure is in the document; a person looks at standard error too.
            if options.output.format != .normal || options.output.file != nil {
                StandardStream.error.write("vhublk-bench: \(failure)\n")
            }
            throw ExitCode(1)
        }
    }

    private func text(_ result: RunResult) -> String {
        switch options.output.format {
        case .normal: TextReport(result: result, percentiles: options.output.percentiles.values).text
        case .json, .jsonPlus: JSONReport(result: result, options: options).text
        }
    }

    private func show(_ text: String) throws {
        guard let path = options.output.file else {
            StandardStream.output.write(text)
            return
        }
        let file = try FileDescriptor.open(path, flags: .createForWriting, mode: 0o644)
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            // The bytes are only read, during the call.
            let written = try unsafe rest.withUnsafeBytes { bytes throws(SystemError) in try unsafe file.write(bytes) } ?? 0
            rest = rest.dropFirst(written)
        }
    }
}

extension Int32 {
    /// O_WRONLY, O_CREAT, O_TRUNC and O_CLOEXEC as open(2) has them on Linux.
    fileprivate static let createForWriting: Int32 = 0o1 | 0o100 | 0o1000 | 0o2000000
}
