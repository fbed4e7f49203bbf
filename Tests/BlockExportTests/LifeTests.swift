import BlockExport
import BlockIO
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend
import Virtio

/// Connections and rings that come and go, with a null disk behind them.
@Suite struct LifeTests {
    @Test(arguments: [false, true])
    func aRingStopsAndGoesOnWhereItWas(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        for _ in 0..<20 {
            for _ in 0..<37 { #expect(try #require(driver.request(.read, length: 512)).status == .ok) }
            try driver.stop()
            try driver.resume()
        }
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func buffersThereBeforeEnableAreServed(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        for _ in 0..<50 {
            try driver.connection.setEnabled(0, false)
            #expect(driver.submitRead(slot: 0, length: 512))
            driver.queues[0].flushSubmissions()
            try driver.connection.setEnabled(0, true)
            #expect(try #require(driver.next()).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    @Test func aPolledRingNeedsNoKick() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false) { $0.asksForPolling = true })
        for _ in 0..<10 {
            pause(milliseconds: 2)
            #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    @Test(arguments: PollMode.allCases)
    func everyPollModeServes(mode: PollMode) async throws {
        let served = try await ServedExport.start { $0.pollMode = mode }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: true))
        for index in 0..<200 {
            if index % 20 == 0 { pause(milliseconds: 1) }
            #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    @Test func theCallDescriptorIsSwappedUnderLoad() async throws {
        let served = try await ServedExport.start { $0.pollMode = .interrupt }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let other = try EventFD()
        let call = try #require(driver.queues[0].endpoint.call)
        func submit() {
            #expect(driver.submitRead(slot: 0, length: 512))
            driver.queues[0].flushSubmissions()
        }
        for round in 0..<200 {
            // Of the round before nothing is left that could be taken for a notification.
            EventFD(adopting: call).drain()
            if round % 2 == 0 { submit() }
            // As QEMU masks and unmasks: to a descriptor nobody listens on, and back.
            try driver.connection.setCall(0, other.descriptor)
            if round % 2 == 1 { submit() }
            try driver.connection.setCall(0, call)
            #expect(try call.wait(for: .readable, nanoseconds: 5_000_000_000), "a notification may have gone to the other")
            #expect(try #require(driver.next()).status == .ok)
        }
        driver.close()
        try await served.stop()
    }

    @Test func aSecondFrontendIsTurnedAway() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(throws: FrontendError.self) {
            _ = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        }
        #expect(served.waitFor { if case .refusedSecondFrontend = $0 { true } else { false } })
        #expect(try #require(driver.request(.read, length: 512)).status == .ok, "the first one is not disturbed")
        driver.close()
        try await served.stop()
    }

    /// In a process of its own, in which nobody else opens anything.
    @Test func frontendsComeAndGo() async {
        await #expect(processExitsWith: .success) {
            let served = try await ServedExport.start()
            let options = BlockDriver.options(isPacked: false) { $0.queueCount = 2 }
            var before = 0
            for round in 0..<300 {
                // At once: the export takes the next one when the last one's rings have stopped.
                let driver = try BlockDriver(path: served.path, options: options)
                guard let answer = driver.request(.read, length: 512, queue: round % 2) else { fatalError("round \(round): no answer") }
                precondition(answer.status == .ok)
                driver.close()
                if round == 20 { before = try openDescriptorCount() }
            }
            // The last one, or the one that was counted, may be on its way out: a connection, its rings and memory.
            let after = try openDescriptorCount()
            precondition(before > 3 && after < before + 40, "\(before) descriptors became \(after)")
            try await served.stop()
        }
    }

    @Test func deletingABusyExportNeedsForce() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        await #expect(throws: ExportError.self) { try await served.export.shutdown(force: false) }
        #expect(try #require(driver.request(.read, length: 512)).status == .ok, "nothing changed")
        try await served.stop()
        #expect(throws: FrontendError.self) { try FrontendConnection(path: served.path) }
    }

    @Test func theGuestLearnsOfANewSize() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false) { $0.usesBackendChannel = true })
        #expect(driver.config.byteCount == 64 << 20)
        #expect(try #require(driver.request(.read, sector: 131_072, length: 512)).status == .ioError)
        try await served.export.resize(to: 128 << 20)
        let channel = try #require(driver.channel)
        let message = try #require(try channel.receive(timeoutNanoseconds: 2_000_000_000))
        #expect(message.request == BackendRequest.configChange.rawValue)
        try channel.reply(to: message)
        try driver.refreshConfig()
        #expect(driver.config.byteCount == 128 << 20)
        #expect(try #require(driver.request(.read, sector: 131_072, length: 512)).status == .ok)
        driver.close()
        try await served.stop()
    }

    /// VIRTIO_F_RING_RESET: one queue is stopped and begins anew elsewhere in memory, at 0, while the other goes on.
    @Test(arguments: [false, true])
    func aQueueIsResetAlone(isPacked: Bool) async throws {
        let served = try await ServedExport.start { $0.queueCount = 2 }
        let driver = try BlockDriver(
            path: served.path,
            options: BlockDriver.options(isPacked: isPacked) {
                $0.queueCount = 2
                $0.features.insert(.ringReset)
                $0.memory = [DriverMemory.Range(guestAddress: 0x4000_0000, size: 64 << 20)]
            })
        #expect(driver.features.contains(.ringReset))
        for round in 0..<10 {
            for queue in 0..<2 { #expect(try driver.read(sector: 8, count: 512, queue: queue).count == 512) }
            _ = try driver.connection.stopRing(round % 2)
            #expect(try driver.read(sector: 8, count: 512, queue: 1 - round % 2).count == 512, "the other goes on")
            let layout = driver.options.layout
            let fresh: any BlockRequestQueue =
                isPacked
                ? try BlockQueue<DriverPackedQueue>(layout: layout, memory: driver.memory)
                : try BlockQueue<DriverSplitQueue>(layout: layout, memory: driver.memory)
            try driver.connection.setRing(round % 2, fresh.endpoint, base: isPacked ? 0x8000_8000 : 0)
            driver.queues[round % 2] = fresh
            try driver.connection.setEnabled(round % 2, true)
        }
        driver.close()
        try await served.stop()
    }

    @Test func theGuestChoosesTheCacheMode() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(await served.export.status.isWriteback)
        try driver.connection.writeConfig(offset: 32, bytes: [0])
        #expect(await served.export.status.isWriteback == false)
        try driver.refreshConfig()
        #expect(driver.config.bytes[32] == 0)
        #expect(throws: FrontendError.self) { try driver.connection.writeConfig(offset: 0, bytes: [1]) }
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        #expect(await served.export.status.isWriteback, "the next front-end begins anew")
        try await served.stop()
    }
}
