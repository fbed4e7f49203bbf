import Testing

/// Who may import whom: the arrows of docs/architecture.md.
@Suite struct ImportRules {
    /// Modules of the house that a module may import. What is not listed imports none.
    static let allowed: [String: Set<String>] = [
        "LinuxSystem": [],
        "Virtio": ["LinuxSystem"],
        "VhostUser": ["LinuxSystem", "Virtio"],
        "BlockIO": ["LinuxSystem"],
        "BlockExport": ["LinuxSystem", "Virtio", "VhostUser", "BlockIO"],
        "VhostUserFrontend": ["LinuxSystem", "Virtio", "VhostUser"],
        "ControlAPI": ["LinuxSystem"],
        "Daemon": ["LinuxSystem", "BlockIO", "BlockExport", "ControlAPI"],
        "SharedOptions": ["ControlAPI"],
        "vhublkd": ["SharedOptions", "Daemon", "ControlAPI", "LinuxSystem", "BlockExport", "BlockIO"],
        "vhublkctl": ["SharedOptions", "ControlAPI", "LinuxSystem"],
        "vhublk-bench": ["VhostUserFrontend", "LinuxSystem", "Virtio", "VhostUser"],
    ]

    /// Everything else that a module may import, with the reason in docs/architecture.md.
    static let outside: [String: Set<String>] = [
        "LinuxSystem": ["CLinux", "CLibNUMA", "Glibc", "Synchronization"],
        "Virtio": ["Synchronization"],
        "VhostUser": ["Synchronization"],
        "BlockIO": ["CLinux", "CLibAIO", "CLibURing", "Glibc", "Synchronization"],
        "BlockExport": ["Synchronization"],
        "VhostUserFrontend": ["Synchronization"],
        "ControlAPI": ["FoundationEssentials"],
        "Daemon": ["FoundationEssentials", "Glibc", "Logging", "Synchronization"],
        "SharedOptions": ["ArgumentParser"],
        "vhublkd": ["ArgumentParser", "Logging", "Glibc", "FoundationEssentials"],
        "vhublkctl": ["ArgumentParser", "FoundationEssentials", "Glibc"],
        "vhublk-bench": ["ArgumentParser", "Histogram", "FoundationEssentials", "Synchronization", "Glibc"],
    ]

    @Test func everyImportIsAllowed() throws {
        let files = try SourceTree.swiftFiles(below: "Sources")
        #expect(files.count > 50, "the walk found the sources")
        for file in files {
            let permitted = (Self.allowed[file.module] ?? []).union(Self.outside[file.module] ?? [])
            for module in file.imports {
                #expect(permitted.contains(module), "\(file.path) imports \(module)")
            }
        }
    }

    @Test func everyModuleHasARule() throws {
        let modules = Set(try SourceTree.swiftFiles(below: "Sources").map(\.module))
        #expect(modules == Set(Self.allowed.keys))
    }
}
