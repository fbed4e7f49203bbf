import LinuxSystem
import Testing

@testable import Daemon

@ControlActor
struct BoundedTests {
    @Test func valueThatIsThereInTime() async {
        let task = Task { @ControlActor in 7 }
        #expect(await ControlActor.value(of: task, within: 10_000_000_000) == 7)
    }

    @Test func taskThatTakesTooLongGoesOn() async {
        let task = Task { @ControlActor in
            await ControlActor.sleep(nanoseconds: 200_000_000)
            return 7
        }
        #expect(await ControlActor.value(of: task, within: 1_000_000) == nil)
        #expect(await task.value == 7)
    }
}
