import Foundation

extension Guest {
    /// Where the guest's processors and the rings of its disks stand, as far as QEMU still answers: for who has to find out why a guest does
    /// not go on.
    func picture() async -> String {
        let registers = await ask("human-monitor-command", ["command-line": "info registers -a"])
        let places = registers.replacingOccurrences(of: "\\r\\n", with: "\n").split(separator: "\n").filter { $0.contains("RIP=") }
        var parts = places.map(String.init)
        for path in await ask("x-query-virtio").split(separator: "\"") where path.hasSuffix("virtio-backend") {
            for queue in 0..<4 {
                parts.append(await ask("x-query-virtio-queue-status", ["path": String(path), "queue": queue]))
            }
        }
        return parts.filter { !$0.isEmpty }.joined(separator: "\n")
    }

    /// What the monitor answers; nothing when it does not.
    private func ask(_ command: String, _ arguments: [String: any Sendable] = [:]) async -> String {
        (try? await monitor.execute(command, arguments)) ?? ""
    }
}
