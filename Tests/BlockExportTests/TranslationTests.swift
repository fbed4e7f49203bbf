import BlockExport
import LinuxSystem
import Testing
import VhostUserFrontend
import Virtio

/// Rings and buffers by I/O virtual address, with misses answered page by page, through real sessions, rings and pollers.
@Suite struct TranslationTests {
    private func options(isPacked: Bool, adjust: (inout BlockDriverOptions) -> Void = { _ in }) -> BlockDriverOptions {
        BlockDriver.options(isPacked: isPacked) { options in
            options.usesIOMMU = true
            adjust(&options)
        }
    }

    @Test(arguments: [false, true])
    func everythingIsTranslated(isPacked: Bool) async throws {
        let served = try await ServedExport.start { $0.serial = "serial" }
        let driver = try BlockDriver(path: served.path, options: options(isPacked: isPacked))
        for length in [512, 4096, 65536] {
            #expect(try #require(driver.request(.read, length: length)).length == length + 1)
            #expect(try #require(driver.request(.write, length: length)).status == .ok)
        }
        #expect(try #require(driver.request(.getID, length: 20)).status == .ok)
        #expect(try #require(driver.request(.discard, ranges: [.init(sector: 8, sectorCount: 8)])).status == .ok)
        let server = try #require(driver.translations)
        #expect(server.missCount > 16 && server.denialCount == 0)
        let before = server.missCount
        for _ in 0..<100 { #expect(try #require(driver.request(.read, length: 65536)).status == .ok) }
        #expect(server.missCount == before, "what is known is not asked for")
        driver.close()
        try await served.stop()
    }

    @Test("Invalidations of everything, the rings too, between and under requests", arguments: [false, true])
    func invalidation(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: options(isPacked: isPacked))
        let server = try #require(driver.translations)
        for round in 0..<50 {
            for slot in 0..<8 { #expect(driver.submitRead(slot: slot, length: 8192)) }
            driver.queues[0].flushSubmissions()
            try server.invalidate(iova: 0, size: 0)
            for _ in 0..<8 { #expect(try #require(driver.next(), "round \(round)").status == .ok) }
        }
        driver.close()
        try await served.stop()
    }

    @Test(
        "A page that may not be written is no place for a read's data: the request fails, the next one is served", arguments: [false, true])
    func permissions(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: options(isPacked: isPacked))
        let server = try #require(driver.translations)
        let page = driver.queues[0].buffer(0)
        server.change { $0.map(iova: page.guestAddress, size: 4096, frontendAddress: page.frontendAddress, access: .read) }
        #expect(try #require(driver.request(.write, length: 512)).status == .ok)
        #expect(try #require(driver.request(.read, length: 512)).status == .ioError)
        // It is told on another thread than the request.
        for _ in 0..<500 where server.accessFailureCount == 0 { pause(milliseconds: 10) }
        #expect(server.denialCount == 1 && server.accessFailureCount == 1)
        server.change { $0.map(iova: page.guestAddress, size: 4096, frontendAddress: page.frontendAddress) }
        #expect(try #require(driver.request(.read, length: 512)).status == .ok, "a refusal is not remembered")
        driver.close()
        try await served.stop()
    }

    @Test("Rings stop, and front-ends leave, while requests wait for translations that nobody gives", arguments: [false, true])
    func parkedRequests(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(
            path: served.path, options: options(isPacked: isPacked) { $0.tracksInflight = true })
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        let server = try #require(driver.translations)
        try server.invalidate(iova: driver.queues[0].buffer(3).guestAddress, size: 4096)
        server.end()
        #expect(driver.submitRead(slot: 3, length: 4096))
        driver.queues[0].flushSubmissions()
        pause(milliseconds: 20)
        try driver.stop()
        try driver.resume()
        #expect(try #require(driver.next()).status == .ok, "it was left in the ring")
        try #require(driver.translations).end()
        try driver.reconnect(timeoutNanoseconds: 5_000_000_000)
        #expect(try #require(driver.request(.read, length: 65536)).status == .ok)
        driver.close()
        try await served.stop()
    }
}
