import Foundation
import Testing

/// Commands that a test's disk needs: mounts, files, file systems. Needs root, as mounts do.
enum Shell {
    static func run(_ script: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-ec", script]
        try process.run()
        process.waitUntilExit()
        try #require(process.terminationStatus == 0, "\(script)")
    }
}
