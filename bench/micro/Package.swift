// swift-tools-version: 6.2
import PackageDescription

// The parts of a request that need no daemon, each counted alone: docs/benchmarks.md, "Micro benchmarks".
let settings: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
    name: "micro",
    dependencies: [.package(name: "vhublk", path: "../..")],
    targets: [
        .executableTarget(
            name: "micro", dependencies: ["LinuxSystem", "Virtio", "VhostUserFrontend"].map { .product(name: $0, package: "vhublk") },
            path: "Sources", swiftSettings: settings)
    ]
)
