import BlockExport
import LinuxSystem
import Testing
import VhostUserFrontend
import Virtio

/// Every request type through a real session, ring and poller, on a null disk, with both ring formats.
@Suite struct RequestTests {
    @Test(arguments: [false, true])
    func everyTypeIsAnswered(isPacked: Bool) async throws {
        let served = try await ServedExport.start { $0.serial = "serial-0123456789ab" }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: isPacked))

        let read = try #require(driver.request(.read, sector: 8, length: 8192))
        #expect(read.status == .ok)
        #expect(read.length == 8193, "data and status byte")
        let write = try #require(driver.request(.write, sector: 8, length: 4096))
        #expect(write.status == .ok)
        #expect(write.length == 1)
        #expect(try #require(driver.request(.flush)).status == .ok)

        let identity = try #require(driver.request(.getID, length: 20))
        #expect(identity.status == .ok)
        #expect(identity.length == 21)
        let bytes = (0..<20).map { unsafe driver.queues[0].buffer(0).pointer.load(fromByteOffset: $0, as: UInt8.self) }
        #expect(bytes == Array("serial-0123456789ab".utf8) + [0])
        let short = try #require(driver.request(.getID, length: 5))
        #expect(short.status == .ok)
        #expect(short.length == 6)

        for command in [BlockCommand.discard, .writeZeroes, .secureErase] {
            let done = try #require(driver.request(command, ranges: [.init(sector: 8, sectorCount: 8), .init(sector: 64, sectorCount: 0)]))
            #expect(done.status == .ok, "\(command)")
            #expect(done.length == 1)
        }
        driver.close()
        try await served.stop()
    }

    struct Refused: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var command: BlockCommand
        var sector: UInt64 = 0
        var length = 0
        var status: VhostUserFrontend.BlockStatus
    }

    /// The disk has 131072 sectors of 512 bytes.
    static let refusals: [Refused] = [
        Refused(testDescription: "read past the end", command: .read, sector: 131_072, length: 512, status: .ioError),
        Refused(testDescription: "read over the end", command: .read, sector: 131_071, length: 1024, status: .ioError),
        Refused(testDescription: "sector wraps", command: .read, sector: UInt64.max - 1, length: 4096, status: .ioError),
        Refused(testDescription: "not a whole sector", command: .read, sector: 0, length: 513, status: .ioError),
        Refused(testDescription: "write without data", command: .write, sector: 0, length: 0, status: .ioError),
        Refused(testDescription: "write past the end", command: .write, sector: 1 << 60, length: 512, status: .ioError),
        Refused(testDescription: "unknown type", command: BlockCommand(rawValue: 77), length: 512, status: .unsupported),
        Refused(testDescription: "lifetime", command: .getLifetime, length: 512, status: .unsupported),
        Refused(testDescription: "discard without a range", command: .discard, length: 0, status: .ioError),
        Refused(testDescription: "half a range", command: .discard, length: 24, status: .ioError),
        Refused(testDescription: "too many ranges", command: .discard, length: 17 * 16, status: .ioError),
    ]

    @Test(arguments: refusals)
    func badRequestsAreRefused(_ refused: Refused) async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let done = try #require(driver.request(refused.command, sector: refused.sector, length: refused.length))
        #expect(done.status == refused.status)
        #expect(done.length == 1)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok, "the queue goes on")
        driver.close()
        try await served.stop()
    }

    @Test func rangesAreCheckedBeforeTheFirstIsTouched() async throws {
        let served = try await ServedExport.start()
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        let good = SectorRange(sector: 0, sectorCount: 8)
        let outside = try #require(driver.request(.discard, ranges: [good, .init(sector: 131_072, sectorCount: 8)]))
        #expect(outside.status == .ioError)
        let unmap = try #require(driver.request(.discard, ranges: [good, .init(sector: 0, sectorCount: 8, flags: 1)]))
        #expect(unmap.status == .unsupported)
        let reserved = try #require(driver.request(.writeZeroes, ranges: [.init(sector: 0, sectorCount: 8, flags: 2)]))
        #expect(reserved.status == .unsupported)
        let statistics = await served.export.statistics
        #expect(statistics.total.discard.requests == 0)
        #expect(statistics.total.unsupported == 2)
        #expect(statistics.total.ioErrors == 1)
        driver.close()
        try await served.stop()
    }

    @Test func aReadOnlyExportRefusesEveryChange() async throws {
        let served = try await ServedExport.start { $0.isReadOnly = true }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: true))
        #expect(driver.features.contains(.blockReadOnly))
        #expect(!driver.features.contains(.blockDiscard))
        #expect(try #require(driver.request(.write, length: 512)).status == .ioError)
        #expect(try #require(driver.request(.discard, ranges: [.init(sector: 0, sectorCount: 8)])).status == .unsupported)
        #expect(try #require(driver.request(.read, length: 512)).status == .ok)
        #expect(try #require(driver.request(.flush)).status == .ok)
        driver.close()
        try await served.stop()
    }

    @Test func blocksOf4096BytesAreKept() async throws {
        let served = try await ServedExport.start { $0.blockSize = 4096 }
        let driver = try BlockDriver(path: served.path, options: BlockDriver.options(isPacked: false))
        #expect(driver.config.blockSize == 4096)
        #expect(try #require(driver.request(.read, sector: 8, length: 4096)).status == .ok)
        #expect(try #require(driver.request(.read, sector: 1, length: 4096)).status == .ioError)
        #expect(try #require(driver.request(.read, sector: 8, length: 512)).status == .ioError)
        driver.close()
        try await served.stop()
    }

    @Test(arguments: [false, true])
    func longChainsSpill(isPacked: Bool) async throws {
        let served = try await ServedExport.start()
        // 128 segments of 512 bytes: eight times what a slot holds itself.
        let options = BlockDriver.options(isPacked: isPacked, ringSize: 256) { $0.layout.segmentBytes = 512 }
        let driver = try BlockDriver(path: served.path, options: options)
        for round in 0..<200 {
            for slot in 0..<8 {
                #expect(driver.submitRead(slot: slot, length: slot % 2 == 0 ? 64 << 10 : 512))
            }
            driver.queues[0].flushSubmissions()
            for _ in 0..<8 {
                let done = try #require(driver.next(), "round \(round)")
                #expect(done.status == .ok)
                #expect(done.length == (done.slot % 2 == 0 ? 65537 : 513))
            }
        }
        driver.close()
        try await served.stop()
    }
}
