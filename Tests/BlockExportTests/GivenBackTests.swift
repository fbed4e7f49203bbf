import BlockIO
import LinuxSystem
import Testing
import VhostUser

@testable import BlockExport

/// A ring that its poller gave back, of which the session has not heard yet: the backing's lock is on its way back too.
@Suite struct GivenBackTests {
    /// A log, say, for all rings that the session believes to run.
    @Test @ControlActor func whatIsChangedOfItIsDoneAtOnce() throws {
        let configuration = ExportConfiguration(name: "disk", backing: .null(size: 1 << 20), endpoint: .path("/nowhere"))
        let device = try ExportDevice(
            configuration, disk: try Disk(opening: configuration), pollers: PollerGroup(cpus: nil, topology: Topology()), tell: { _ in })
        var doneCount = 0
        device.changeRing(0, .log(nil)) { doneCount += 1 }
        device.changeRing(0, .call(nil)) { doneCount += 1 }
        device.changeRing(0, .suspended) { doneCount += 1 }
        device.changeRing(0, .kicked) { doneCount += 1 }
        #expect(doneCount == 4)
    }
}
