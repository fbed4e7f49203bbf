import BlockExport
import Glibc
import LinuxSystem
import Testing
import VhostUserFrontend

/// No descriptor is left in the process (RLIMIT_NOFILE): nobody can connect, those who are there go on, and no thread spins meanwhile.
@Suite struct DescriptorLimitTests {
    /// Lets the process open no more than it has open now; returns the limit there was.
    static func closeTheDoor() -> rlimit {
        var before = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        // unsafe: out-parameters of this frame. The lowest free number is what the next descriptor would get.
        precondition(unsafe getrlimit(resource, &before) == 0)
        let lowestFree = dup(0)
        close(lowestFree)
        var none = rlimit(rlim_cur: rlim_t(lowestFree), rlim_max: before.rlim_max)
        precondition(unsafe setrlimit(resource, &none) == 0)
        return before
    }

    /// Half a second in which somebody waits to be taken who cannot be.
    struct Wait: Sendable {
        var client: FileDescriptor
        var limitBefore: rlimit
        /// Processor time of the control thread meanwhile, in nanoseconds.
        var controlThreadUsage: UInt64
    }

    @ControlActor
    static func wait(before served: ServedExport) async throws -> Wait {
        // This is the control thread: the connection is taken only after the door is closed.
        let client = try UnixSocket.connect(path: served.path)
        let limit = closeTheDoor()
        let before = ThreadUsage.current()
        await ControlActor.sleep(nanoseconds: 500_000_000)
        let after = ThreadUsage.current()
        let usage = after.userNanoseconds + after.systemNanoseconds - before.userNanoseconds - before.systemNanoseconds
        return Wait(client: client, limitBefore: limit, controlThreadUsage: usage)
    }

    @Test func connectionsWaitUntilADescriptorIsFree() async {
        await #expect(processExitsWith: .success) {
            let served = try await ServedExport.start()
            let other = try await ServedExport.start(beside: served)
            let neighbour = try BlockDriver(path: other.path, options: BlockDriver.options(isPacked: false))
            precondition(neighbour.request(.read, length: 512)?.status == .ok)

            let wait = try await DescriptorLimitTests.wait(before: served)
            precondition(wait.controlThreadUsage < 50_000_000, "the control thread spun: \(wait.controlThreadUsage) ns in half a second")
            precondition(neighbour.request(.read, length: 512)?.status == .ok, "who is there goes on")
            let isConnected = await served.export.isConnected
            precondition(!isConnected)

            var limit = wait.limitBefore
            precondition(unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            precondition(served.waitFor { if case .connected = $0 { true } else { false } }, "who waited is taken")
            UnixSocket.shutdown(wait.client)
            let options = BlockDriver.options(isPacked: false) { $0.patienceNanoseconds = 5_000_000_000 }
            let driver = try BlockDriver(path: served.path, options: options)
            precondition(driver.request(.read, length: 512)?.status == .ok)
            let notices = served.told.count { if case .notice(let text) = $0 { text.contains("EMFILE") } else { false } }
            precondition(notices == 1, "said once, not each time")
        }
    }
}
