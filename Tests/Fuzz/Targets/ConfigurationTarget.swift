import ControlAPI

@testable import Daemon

/// A configuration file.
enum ConfigurationTarget {
    static func run(_ input: [UInt8]) throws(FuzzFailure) -> Int {
        guard let text = String(validating: input, as: UTF8.self) else { return 0 }
        do throws(ConfigurationError) {
            let configuration = try ConfigurationFile.parse(text, file: "fuzz.toml")
            for export in configuration.exports { try exportIsFine(configuration.defaults.completing(export)) }
            return 1 + configuration.exports.count
        } catch {
            // The line is one of the file's; an editor counts the text after the last line feed as one more.
            let lineCount = text.utf8.count { $0 == UInt8(ascii: "\n") } + 1
            if let line = error.line {
                try FuzzFailure.require((1...lineCount).contains(line), "line \(line) of \(lineCount): \(error)")
            }
            try FuzzFailure.require(!error.reason.isEmpty && !error.hint.isEmpty, "a refusal without words: \(error)")
            return 0
        }
    }

    private static func exportIsFine(_ parameters: ExportParameters) throws(ConfigurationError) {
        do throws(FuzzFailure) {
            try ControlTarget.checkExport(parameters)
        } catch {
            throw ConfigurationError(file: "fuzz.toml", line: 0, key: nil, reason: error.description, hint: "a finding")
        }
    }
}
