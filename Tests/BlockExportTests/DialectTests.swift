import BlockExport
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

/// Front-ends that speak otherwise than QEMU does, with a null disk behind them.
@Suite struct DialectTests {
    private static let inband: ProtocolFeatures = [.inbandNotifications, .guestPhysicalAddresses]

    private func reap(_ driver: BlockDriver) -> BlockCompletion? {
        var completion = BlockCompletion()
        return driver.queues[0].poll(&completion) == .completed ? completion : nil
    }

    @Test(arguments: [false, true])
    func kicksAndCallsAreMessages(isPacked: Bool) async throws {
        let served = try await ServedExport.start { $0.pollMode = .interrupt }
        let driver = try BlockDriver(
            path: served.path,
            options: BlockDriver.options(isPacked: isPacked) {
                $0.protocolFeatures.formUnion(Self.inband)
                $0.usesBackendChannel = true
                $0.usesInbandNotifications = true
            })
        let channel = try #require(driver.channel)
        for _ in 0..<50 {
            // False: nothing is there yet, and the device was asked to call.
            let isThere = driver.queues[0].enableCalls()
            #expect(!isThere)
            #expect(driver.submitRead(slot: 0, length: 512))
            driver.queues[0].flushSubmissions()
            try driver.connection.kickRing(0)
            var completion = reap(driver)
            while completion == nil {
                let message = try #require(try channel.receive(timeoutNanoseconds: 5_000_000_000), "a used buffer is called")
                #expect(message.request == BackendRequest.vringCall.rawValue)
                try channel.reply(to: message)
                completion = reap(driver)
            }
            #expect(completion?.status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    @Test func aBrokenRingIsAMessage() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(
            path: served.path,
            options: BlockDriver.options(isPacked: false) {
                $0.protocolFeatures.formUnion(Self.inband)
                $0.usesBackendChannel = true
                $0.usesInbandNotifications = true
            })
        // An available index far ahead of what the ring holds.
        let index = unsafe (driver.queues[0].endpoint.area.driver.pointer + 2).assumingMemoryBound(to: UInt16.self)
        unsafe index.pointee = 0x7000
        try driver.connection.kickRing(0)
        var kinds: [UInt32] = []
        while let message = try #require(driver.channel).receive(timeoutNanoseconds: 2_000_000_000) {
            kinds.append(message.request)
            try driver.channel?.reply(to: message)
            if message.request == BackendRequest.vringError.rawValue { break }
        }
        #expect(kinds.last == BackendRequest.vringError.rawValue)
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func crosvmPutsTheDeviceToSleep(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        for _ in 0..<20 {
            #expect(try #require(driver.request(.read, length: 512)).status == .ok)
            #expect(try driver.connection.ask(.crosvmSleep).payload == .opaque([1]))
            #expect(driver.submitRead(slot: 0, length: 512))
            driver.queues[0].flushSubmissions()
            pause(milliseconds: 2)
            #expect(reap(driver) == nil, "asleep")
            #expect(try driver.connection.ask(.crosvmWake).payload == .opaque([1]))
            #expect(try #require(driver.next()).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    /// crosvm saves a device and goes on with it on another connection, with the same guest memory.
    @Test(arguments: [false, true])
    func crosvmMovesTheDevice(isPacked: Bool) async throws {
        let first = try await ServedExport.start { $0.serial = "crosvm" }
        let second = try await ServedExport.start { $0.serial = "crosvm" }
        let driver = try BlockDriver(path: first.path, options: BlockDriver.options(isPacked: isPacked))
        for _ in 0..<20 { #expect(try #require(driver.request(.read, length: 512)).status == .ok) }
        #expect(try driver.connection.sleep())
        let snapshot = try #require(try driver.connection.snapshot())
        // What comes while it is being moved is found by the next device.
        #expect(driver.submitRead(slot: 0, length: 512))
        driver.queues[0].flushSubmissions()
        let other = try FrontendConnection(path: second.path)
        try other.open()
        try other.acknowledge(driver.features)
        try other.setMemory(driver.memory)
        let endpoint = driver.queues[0].endpoint
        try other.setCall(0, endpoint.call)
        #expect(try other.sleep())
        #expect(try other.restore(snapshot, kicks: [try #require(endpoint.kick)]))
        #expect(reap(driver) == nil, "asleep")
        #expect(try other.wake())
        #expect(try #require(driver.next()).status == .ok)
        for _ in 0..<20 { #expect(try #require(driver.request(.read, length: 512)).status == .ok) }
        other.close()
        driver.close()
        try await first.stop()
        try await second.stop()
    }
}
