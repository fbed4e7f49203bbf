import BlockIO
import Foundation
import Glibc
import LinuxSystem
import Testing
import VhostUser
import VhostUserFrontend

@testable import BlockExport

/// The device's state on its way to another daemon (SET_DEVICE_STATE_FD, CHECK_DEVICE_STATE).
@Suite struct DeviceStateTests {
    /// A driver that negotiated DEVICE_STATE and has stopped its rings, at an export of the given size and serial.
    private static func with(
        bytes: UInt64 = 64 << 20, serial: String = "S1", _ body: (BlockDriver) async throws -> Void
    ) async throws {
        let served = try await ServedExport.start {
            $0.backing = .null(size: bytes)
            $0.serial = serial
        }
        let driver = try BlockDriver(
            path: served.path, options: BlockDriver.options(isPacked: false) { $0.protocolFeatures.insert(.deviceState) })
        try driver.stop()
        try await body(driver)
        driver.close()
        try await served.stop()
    }

    private static func writeback(_ driver: BlockDriver) throws -> UInt8? {
        try driver.refreshConfig()
        return driver.config.writeback
    }

    /// A stream of the disk with serial S1 whose guest switched write-back off.
    private static func stream() async throws -> [UInt8] {
        var bytes: [UInt8] = []
        try await with { driver in
            try driver.connection.writeConfig(offset: BlockConfig.writebackOffset, bytes: [0])
            bytes = try driver.connection.saveDeviceState()
        }
        return bytes
    }

    @Test("The guest's cache mode moves along; the next front-end begins anew")
    func moves() async throws {
        let bytes = try await Self.stream()
        try await Self.with { driver in
            #expect(try Self.writeback(driver) == 1)
            try driver.connection.loadDeviceState(bytes)
            #expect(try Self.writeback(driver) == 0)
            #expect(try driver.connection.saveDeviceState() == bytes, "and on from there")
        }
    }

    @Test("A stream that cannot be used is refused, and changes nothing")
    func hostile() async throws {
        let bytes = try await Self.stream()
        var random = SystemRandomNumberGenerator()
        try await Self.with { driver in
            var streams: [[UInt8]] = [
                [], Array(bytes.dropLast()), bytes + [0], (0..<200).map { _ in UInt8.random(in: 0...255, using: &random) },
            ]
            streams += (0..<bytes.count).map { Array(bytes.prefix($0)) }
            for index in bytes.indices {
                var flipped = bytes
                flipped[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
                streams.append(flipped)
            }
            for stream in streams {
                #expect(throws: FrontendError.self) { try driver.connection.loadDeviceState(stream) }
                #expect(try Self.writeback(driver) == 1)
            }
            // The back-end gives up reading what is too long, so that the rest may find the channel closed.
            #expect(throws: FrontendError.self) { try driver.connection.loadDeviceState([UInt8](repeating: 7, count: 1 << 20)) }
            try driver.connection.loadDeviceState(bytes)
        }
        try await Self.with(bytes: 32 << 20) { driver in
            #expect(throws: FrontendError.self, "another size") { try driver.connection.loadDeviceState(bytes) }
        }
        try await Self.with(serial: "S2") { driver in
            #expect(throws: FrontendError.self, "another export's") { try driver.connection.loadDeviceState(bytes) }
        }
    }

    private static func makePipe() throws -> (reading: FileDescriptor, writing: FileDescriptor) {
        var ends: [Int32] = [0, 0]
        // The array has room for the two numbers.
        try #require(unsafe pipe(&ends) == 0)
        return (FileDescriptor(owning: ends[0]), FileDescriptor(owning: ends[1]))
    }

    @Test("A stream without an end is given up when it is too long, not when its time is over")
    func endless() async throws {
        try await Self.with { driver in
            let (reading, writing) = try Self.makePipe()
            try driver.connection.setDeviceState(DeviceStateTransfer(direction: 1, phase: 0), channel: reading)
            try writing.setNonBlocking(true)
            let before = MonotonicClock.now()
            var sent = 0
            let chunk = [UInt8](repeating: 7, count: 4096)
            while sent <= 65536, MonotonicClock.now() - before < 5_000_000_000 {
                // The array lives for the call.
                sent += try unsafe chunk.withUnsafeBytes { try unsafe writing.write($0) } ?? 0
            }
            #expect(throws: FrontendError.self) { try driver.connection.checkDeviceState() }
            #expect(MonotonicClock.now() - before < 5_000_000_000, "the time-out is twice as long")
            withExtendedLifetime(writing) {}
        }
    }

    @Test("A transfer that does not move ends when its time is over", arguments: [false, true])
    func stuck(saves: Bool) async throws {
        let (reading, writing) = try Self.makePipe()
        try reading.setNonBlocking(true)
        try writing.setNonBlocking(true)
        let chunk = [UInt8](repeating: 7, count: 4096)
        // Full: nothing more can be saved. The array lives for the call.
        while saves, try unsafe chunk.withUnsafeBytes({ try unsafe writing.write($0) }) != nil {}
        let outcome = await Self.outcome(of: saves ? StateTransfer(saving: [1, 2, 3], to: writing) : StateTransfer(loadingFrom: reading))
        #expect(outcome?.contains("within 50 ms") == true, "\(outcome ?? "it came to an end")")
        withExtendedLifetime((reading, writing)) {}
    }

    @ControlActor
    private static func outcome(of transfer: StateTransfer) async -> String? {
        await withCheckedContinuation { continuation in
            transfer.start(timeoutNanoseconds: 50_000_000) { result in
                if case .failure(let error) = result {
                    continuation.resume(returning: error.reason)
                } else {
                    continuation.resume(returning: nil)
                }
            }
        }
    }

    /// A stream as another version might write it, with a right checksum.
    private static func stream(version: UInt32 = 1, records: [UInt8]) -> [UInt8] {
        func bytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
            (0..<Number.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> Number(8 * $0)) }
        }
        let body = Array("VHUBLKST".utf8) + bytes(version) + bytes(UInt32(records.count)) + records
        return body + bytes(body.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 })
    }

    @Test("Records that are not known are left out, unless they say that they may not be; a later version is refused")
    func versions() async throws {
        let writeThrough: [UInt8] = [4, 0, 1, 0, 0]
        let optional: [UInt8] = [0x55, 0, 2, 0, 1, 2]
        let mandatory: [UInt8] = [0x55, 0x80, 0, 0]
        try await Self.with { driver in
            try driver.connection.loadDeviceState(Self.stream(records: optional + writeThrough + optional))
            #expect(try Self.writeback(driver) == 0)
            try driver.connection.loadDeviceState(Self.stream(records: []))
            #expect(try Self.writeback(driver) == 1, "what is missing is as it was at first")
            for stream in [
                Self.stream(records: mandatory), Self.stream(version: 2, records: writeThrough),
                Self.stream(version: 0, records: writeThrough),
                Self.stream(records: [4, 0, 1, 0, 2]), Self.stream(records: [4, 0, 2, 0, 0, 0]), Self.stream(records: [4, 0, 2, 0, 0]),
                Self.stream(records: [4, 0, 1]),
            ] {
                #expect(throws: FrontendError.self) { try driver.connection.loadDeviceState(stream) }
                #expect(try Self.writeback(driver) == 1)
            }
        }
    }

    @Test("A channel that nobody serves holds up nobody: other messages are answered, and the connection can end")
    func slowPeer() async throws {
        try await Self.with { driver in
            let (reading, writing) = try Self.makePipe()
            try driver.connection.setDeviceState(DeviceStateTransfer(direction: 1, phase: 0), channel: reading)
            #expect(try driver.connection.readConfig(size: 8) != nil)
            // Another transfer takes the place of one that does not end.
            let bytes = try driver.connection.saveDeviceState()
            #expect(!bytes.isEmpty)
            try driver.connection.setDeviceState(DeviceStateTransfer(direction: 1, phase: 0), channel: reading)
            withExtendedLifetime(writing) {}
        }
    }
}
