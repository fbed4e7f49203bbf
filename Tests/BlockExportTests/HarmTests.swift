import BlockExport
import LinuxSystem
import Testing
import VhostUserFrontend
import Virtio

/// Guests that do harm, to themselves alone; and memory that changes under I/O.
@Suite struct HarmTests {
    @Test(arguments: [false, true])
    func aBadBufferCostsItsOwnRequestOnly(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))
        let control = driver.queues[0].buffer(1)
        let header = DriverSegment(address: control.guestAddress, length: 16)
        let status = DriverSegment(address: control.guestAddress + 64, length: 1)
        unsafe control.pointer.storeBytes(of: 0, as: UInt64.self)
        unsafe control.pointer.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
        let bad: [DriverSegment] = [
            DriverSegment(address: 0x10, length: 512), DriverSegment(address: UInt64.max - 100, length: 512),
            DriverSegment(address: control.guestAddress, length: UInt32.max),
        ]
        for segment in bad {
            unsafe control.pointer.storeBytes(of: 0xff, toByteOffset: 64, as: UInt8.self)
            for indirect in [false, true] {
                let isAdded = driver.queues[0].submitRaw(token: 5, readable: [header], writable: [segment, status], indirect: indirect)
                #expect(isAdded)
                driver.queues[0].flushSubmissions()
                let done = try #require(driver.next())
                #expect(done.slot == 5)
                #expect(done.length == 1)
                #expect(unsafe control.pointer.load(fromByteOffset: 64, as: UInt8.self) == 1)
            }
        }
        // Nothing to answer in: the chain comes back empty.
        let isAdded = driver.queues[0].submitRaw(token: 6, readable: [header], writable: [], indirect: false)
        #expect(isAdded)
        driver.queues[0].flushSubmissions()
        #expect(try #require(driver.next()).length == 0)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        #expect(await served.export.statistics.total.malformed == 7)
        driver.close()
        try await served.stop()
    }

    @Test func aBrokenRingIsAnnouncedAndTheOtherGoesOn() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false) { $0.queueCount = 2 })
        let error = try EventFD()
        try driver.connection.setError(0, error.descriptor)
        // The avail index runs ahead by more than the ring has entries.
        let area = driver.queues[0].endpoint.area
        unsafe area.driver.pointer.storeBytes(of: 1000, toByteOffset: 2, as: UInt16.self)
        driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        #expect(served.waitFor { if case .ringFailed(queue: 0, _) = $0 { true } else { false } })
        // A poller signals it, soon.
        #expect(try error.descriptor.wait(for: .readable, nanoseconds: 5_000_000_000))
        #expect(try #require(driver.request(.read, length: 512, queue: 1)).status == .ok)
        let state = await served.export.status.queues[0].state
        #expect(state.hasPrefix("failed: "), "\(state)")
        // Put right again and kicked, it stays what it is: a ring that broke once is not looked at.
        #expect(driver.submitRead(slot: 0, length: 512))
        unsafe area.driver.pointer.storeBytes(of: 1, toByteOffset: 2, as: UInt16.self)
        driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        pause(milliseconds: 50)
        #expect(unsafe area.device.pointer.load(fromByteOffset: 2, as: UInt16.self) == 0, "nothing is used")
        driver.close()
        try await served.stop()
    }

    @Test(arguments: PollMode.allCases)
    func requestsInFrontOfAFaultAreAnswered(mode: PollMode) async throws {
        let served = try await ServedExport.start { $0.pollMode = mode }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let ring = unsafe driver.queues[0].endpoint.area.driver.pointer
        for slot in 0..<4 { #expect(driver.submitRead(slot: slot, length: 512)) }
        // A fifth head that is no descriptor's, and all five are made available at once.
        unsafe ring.storeBytes(of: 0xffff, toByteOffset: 4 + 2 * 4, as: UInt16.self)
        unsafe ring.storeBytes(of: 5, toByteOffset: 2, as: UInt16.self)
        driver.queues[0].endpoint.kick.map { EventFD(adopting: $0).signal() }
        #expect(served.waitFor { if case .ringFailed(queue: 0, _) = $0 { true } else { false } })
        // The driver did not publish them itself, hence it is asked of the used ring.
        let used = unsafe driver.queues[0].endpoint.area.device.pointer
        for _ in 0..<500 where unsafe used.load(fromByteOffset: 2, as: UInt16.self) != 4 { pause(milliseconds: 2) }
        #expect(unsafe used.load(fromByteOffset: 2, as: UInt16.self) == 4, "the four are answered")
        let before = MonotonicClock.now()
        driver.close()
        #expect(served.waitFor { if case .disconnected = $0 { true } else { false } })
        #expect(MonotonicClock.now() - before < 3_000_000_000, "nothing is left in flight to wait for")
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func memoryIsPluggedUnderLoad(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let options = BlockDriver.options(isPacked: isPacked) {
            $0.memory = [
                DriverMemory.Range(guestAddress: 0x4000_0000, size: 16 << 20), DriverMemory.Range(guestAddress: 0x8000_0000, size: 4 << 20),
            ]
            $0.addsRegionsOneByOne = true
        }
        let driver = try BlockDriver(path: served.path, options: options)
        let plugged = driver.memory.buffer(region: 1, offset: 0, size: 4096)
        let piece = DriverSegment(address: plugged.guestAddress, length: 4096)
        for _ in 0..<50 {
            #expect(driver.submitRead(into: piece))
            driver.queues[0].flushSubmissions()
            #expect(try #require(driver.next()).status == .ok)
            for slot in 1..<20 { #expect(driver.submitRead(slot: slot, length: 4096)) }
            driver.queues[0].flushSubmissions()
            try driver.connection.removeRegion(1, of: driver.memory)
            for _ in 1..<20 { #expect(try #require(driver.next()).status == .ok) }
            #expect(driver.submitRead(into: piece))
            driver.queues[0].flushSubmissions()
            #expect(try #require(driver.next()).status == .ioError, "the memory is gone")
            try driver.connection.addRegion(1, of: driver.memory)
        }
        driver.close()
        try await served.stop()
    }
}
