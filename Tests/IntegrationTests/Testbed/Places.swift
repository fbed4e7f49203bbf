import Foundation

/// Where the tests find programs, kernels and room. Everything outside the checkout comes from Tests/testbed/setup.sh, which links it under .build/testbed.
enum Places {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    static var testbed: String { root + "/.build/testbed" }
    static var scripts: String { root + "/Tests/testbed" }
    static var kernel: String { testbed + "/kernel/vmlinuz" }
    static var ramdisk: String { testbed + "/ramdisk/ramdisk" }

    /// A program of Debian 13's tree (QEMU 10, its tools, blkio-bench).
    static func debian13(_ program: String) -> String { testbed + "/debian13/bin/" + program }

    /// A program of ours, as `make build` leaves it. VHUBLK_TEST_BINARIES names another folder.
    static func product(_ program: String) -> String {
        let folder = ProcessInfo.processInfo.environment["VHUBLK_TEST_BINARIES"] ?? testbed + "/products"
        return folder + "/" + program
    }

    /// A program of ours as it was built beside the tests, with what only debug builds have.
    static func debugBuild(_ program: String) -> String {
        let bundle = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
        return URL(filePath: bundle).deletingLastPathComponent().path + "/" + program
    }

    /// Runs `body` with a folder of its own below `parent`, short enough for socket paths, and removes the folder afterwards.
    static func withFolder<Result>(
        in parent: String = "/tmp", isolation: isolated (any Actor)? = #isolation, _ body: (String) async throws -> Result
    ) async throws -> Result {
        let folder = parent + "/vhublk-" + String(UInt32.random(in: 0...UInt32.max), radix: 36)
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        return try await body(folder)
    }
}
