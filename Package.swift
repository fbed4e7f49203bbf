// swift-tools-version: 6.2
import PackageDescription

/// Settings every Swift target of the project shares: strict memory safety (each `unsafe` is written and explained) and warnings as errors.
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let histogram: Target.Dependency = .product(name: "Histogram", package: "hdrhistogram-swift")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")

/// A library of the house; docs/architecture.md tells who may import whom, and TidyTests hold it.
func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

let fuzzed: [Target.Dependency] = ["Daemon", "BlockExport", "BlockIO", "ControlAPI", "VhostUser", "Virtio", "LinuxSystem"]

/// The fuzzers (docs/testing.md). Usually a test suite that runs the checked-in corpora through them; `make fuzz` asks for libFuzzer's
/// program instead, with everything instrumented.
let fuzzers: Target =
    Context.environment["VHUBLK_FUZZ"] == nil
    ? .testTarget(
        name: "FuzzTests", dependencies: fuzzed, path: "Tests/Fuzz", exclude: ["Corpus", "Dictionaries", "Entry"],
        swiftSettings: settings)
    : .executableTarget(
        name: "vhublk-fuzz", dependencies: fuzzed, path: "Tests/Fuzz", exclude: ["Corpus", "Dictionaries", "Replay"],
        swiftSettings: settings + [.define("VHUBLK_FUZZ"), .unsafeFlags(["-parse-as-library"])])

let package = Package(
    name: "vhublk",
    products: [
        .executable(name: "vhublkd", targets: ["vhublkd"]),
        .executable(name: "vhublkctl", targets: ["vhublkctl"]),
        .executable(name: "vhublk-bench", targets: ["vhublk-bench"]),
        .library(name: "VhostUserFrontend", targets: ["VhostUserFrontend"]),
        // What bench/micro counts.
        .library(name: "Virtio", targets: ["Virtio"]),
        .library(name: "LinuxSystem", targets: ["LinuxSystem"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        .target(name: "CLinux"),
        .systemLibrary(name: "CLibAIO", providers: [.apt(["libaio-dev"])]),
        .systemLibrary(name: "CLibURing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "CLibNUMA", pkgConfig: "numa", providers: [.apt(["libnuma-dev"])]),

        library("LinuxSystem", ["CLinux", "CLibNUMA"]),
        library("Virtio", ["LinuxSystem"]),
        library("VhostUser", ["LinuxSystem", "Virtio"]),
        library("BlockIO", ["LinuxSystem", "CLinux", "CLibAIO", "CLibURing"]),
        library("BlockExport", ["LinuxSystem", "Virtio", "VhostUser", "BlockIO"]),
        library("VhostUserFrontend", ["LinuxSystem", "Virtio", "VhostUser"]),
        library("ControlAPI", ["LinuxSystem"]),
        library("SharedOptions", ["ControlAPI", argumentParser]),
        library("Daemon", ["LinuxSystem", "BlockIO", "BlockExport", "ControlAPI", logging]),

        .executableTarget(
            name: "vhublkd", dependencies: ["SharedOptions", "Daemon", "ControlAPI", "LinuxSystem", argumentParser], swiftSettings: settings
        ),
        .executableTarget(
            name: "vhublkctl", dependencies: ["SharedOptions", "ControlAPI", "LinuxSystem", argumentParser], swiftSettings: settings),
        .executableTarget(
            name: "vhublk-bench", dependencies: ["VhostUserFrontend", "VhostUser", "LinuxSystem", "Virtio", argumentParser, histogram],
            swiftSettings: settings),

        .target(name: "TestSupport", dependencies: ["LinuxSystem"], path: "Tests/TestSupport", swiftSettings: settings),
        .target(
            name: "Simulator", dependencies: ["BlockExport", "BlockIO", "VhostUser", "VhostUserFrontend", "Virtio", "LinuxSystem"],
            path: "Tests/Simulator", swiftSettings: settings),
        .executableTarget(
            name: "simulate", dependencies: ["Simulator", "LinuxSystem", argumentParser], path: "Tests/simulate", swiftSettings: settings),
        tests("SimulationTests", ["Simulator"]),
        tests("LinuxSystemTests", ["LinuxSystem", "CLinux", "TestSupport"]),
        tests("VirtioTests", ["Virtio", "LinuxSystem"]),
        tests("VhostUserTests", ["VhostUser", "Virtio", "LinuxSystem"]),
        tests("BlockIOTests", ["BlockIO", "LinuxSystem", "TestSupport"]),
        tests("BlockExportTests", ["BlockExport", "BlockIO", "VhostUser", "VhostUserFrontend", "Virtio", "LinuxSystem", "TestSupport"]),
        tests("VhostUserFrontendTests", ["VhostUserFrontend", "vhublk-bench", "VhostUser", "Virtio", "LinuxSystem", argumentParser]),
        tests("ControlAPITests", ["ControlAPI"]),
        tests(
            "DaemonTests",
            ["Daemon", "ControlAPI", "BlockExport", "VhostUser", "VhostUserFrontend", "LinuxSystem", "CLinux", "TestSupport"]),
        fuzzers,
        tests("TidyTests", []),
        tests("IntegrationTests", ["ControlAPI", "LinuxSystem", "VhostUserFrontend", subprocess]),
    ]
)
