import ControlAPI
import Testing

struct ControlPathTests {
    @Test func defaults() {
        #expect(ControlPath.standard(user: 0, runtimeDirectory: "/run/user/0") == "/run/vhublk/control.sock")
        #expect(ControlPath.standard(user: 1000, runtimeDirectory: "/run/user/1000") == "/run/user/1000/vhublk/control.sock")
        #expect(ControlPath.standard(user: 1000, runtimeDirectory: nil) == "/run/user/1000/vhublk/control.sock")
        #expect(ControlPath.resolve(option: "/x") == "/x")
    }

    @Test func nobodyListensIsExplained() {
        let failure = #expect(throws: ControlClient.Failure.self) { try ControlClient(path: "/nonexistent/control.sock") }
        #expect(failure?.description.contains("is the daemon running?") == true)
        #expect(throws: ControlClient.Failure.self) { try ControlClient(path: "/" + String(repeating: "x", count: 200)) }
    }
}
