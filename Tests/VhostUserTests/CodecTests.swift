import Testing
import VhostUser

/// Payloads and their bytes, as the specification lays them out on a little-endian machine.
private let layouts: [(Payload, String)] = [
    (.none, ""),
    (.u64(0x0102_0304_0506_0708), "0807060504030201"),
    (.vringState(VringState(index: 1, number: 0x8000_0100)), "01000000 00010080"),
    (
        .vringAddress(VringAddress(index: 2, flags: 1, descriptor: 0x1000, used: 0x2000, available: 0x3000, log: 0x4000)),
        "02000000 01000000 0010000000000000 0020000000000000 0030000000000000 0040000000000000"
    ),
    (.vringDescriptor(VringDescriptorReference(index: 3, hasDescriptor: true)), "0300000000000000"),
    (.vringDescriptor(VringDescriptorReference(index: 255, hasDescriptor: false)), "ff01000000000000"),
    (.vringArea(VringArea(reference: 5, size: 0x1000, offset: 0x2000)), "0500000000000000 0010000000000000 0020000000000000"),
    (
        .memoryTable([
            MemoryRegionDescription(guestAddress: 1, size: 2, frontendAddress: 3, mapOffset: 4),
            MemoryRegionDescription(guestAddress: 5, size: 6, frontendAddress: 7, mapOffset: 8),
        ]),
        "02000000 00000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000"
            + "0500000000000000 0600000000000000 0700000000000000 0800000000000000"
    ),
    (
        .memoryRegion(MemoryRegionDescription(guestAddress: 1, size: 2, frontendAddress: 3, mapOffset: 4)),
        "0000000000000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000"
    ),
    (.log(LogDescription(size: 0x1000, offset: 0x20)), "0010000000000000 2000000000000000"),
    (
        .iotlb(IOTLBMessage(iova: 1, size: 2, frontendAddress: 3, permissions: 3, kind: .update)),
        "0100000000000000 0200000000000000 0300000000000000 03 02 000000000000"
    ),
    (.config(ConfigAccess(offset: 0x20, size: 3, flags: 1, bytes: [7, 8, 9])), "20000000 03000000 01000000 070809"),
    (
        .inflight(InflightDescription(size: 0x1040, offset: 0, queueCount: 4, queueSize: 256)),
        "4010000000000000 0000000000000000 0400 0001 00000000"
    ),
    (
        .inflight(InflightDescription(size: 0x1040, offset: 0, queueCount: 4, queueSize: 256, encodedByteCount: 20)),
        "4010000000000000 0000000000000000 0400 0001"
    ),
    (.deviceState(DeviceStateTransfer(direction: 1, phase: 0)), "01000000 00000000"),
    (
        .sharedMemoryMapping(SharedMemoryMapping(identifier: 9, descriptorOffset: 1, regionOffset: 2, size: 3, flags: 1)),
        "0900000000000000 0100000000000000 0200000000000000 0300000000000000 0100000000000000"
    ),
    (.uuid(Array(0..<16)), "000102030405060708090a0b0c0d0e0f"),
    (.opaque([0xde, 0xad]), "dead"),
]

private func bytes(_ hexadecimal: String) -> [UInt8] {
    let digits = hexadecimal.filter { $0 != " " }.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

@Suite struct CodecTests {
    @Test("Each payload has the specification's bytes, both ways", arguments: layouts)
    func layout(payload: Payload, hexadecimal: String) throws {
        #expect(MessageCodec.encode(payload) == bytes(hexadecimal))
        #expect(try MessageCodec.decode(payload.kind, from: bytes(hexadecimal)) == payload)
    }

    @Test("The table above leaves out no kind but the one of 2056 bytes")
    func coverage() {
        let covered = Set(layouts.map(\.0.kind))
        #expect(Set(Payload.Kind.allCases).subtracting(covered) == [.sharedMemoryConfig])
    }

    @Test func sharedMemoryConfig() throws {
        let encoded = MessageCodec.encode(.sharedMemoryConfig(SharedMemoryConfig(sizes: [0x1000, 0, 0x2000])))
        #expect(encoded.count == 8 + 256 * 8)
        #expect(Array(encoded[..<32]) == bytes("02000000 00000000 0010000000000000 0000000000000000 0020000000000000"))
        #expect(encoded[32...].allSatisfy { $0 == 0 })
        guard case .sharedMemoryConfig(let config) = try MessageCodec.decode(.sharedMemoryConfig, from: encoded) else {
            Issue.record("another kind")
            return
        }
        #expect(config.regionCount == 2)
        #expect(config.sizes[2] == 0x2000)
    }

    @Test("One byte less or more is refused", arguments: layouts)
    func lengths(payload: Payload, hexadecimal: String) {
        let whole = bytes(hexadecimal)
        let lengthIsFree: Set<Payload.Kind> = [.config, .opaque]
        if !whole.isEmpty, payload.kind != .opaque, payload.kind != .config {
            #expect(throws: PayloadError.self) { try MessageCodec.decode(payload.kind, from: whole.dropLast()) }
        }
        if !lengthIsFree.contains(payload.kind) {
            #expect(throws: PayloadError.self) { try MessageCodec.decode(payload.kind, from: whole + [0]) }
        }
    }

    @Test("A config header is never shorter than 12 bytes")
    func shortConfig() {
        #expect(throws: PayloadError.self) { try MessageCodec.decode(.config, from: [UInt8](repeating: 0, count: 11)) }
    }

    @Test("An IOTLB message without the C structure's padding is read")
    func unpaddedIOTLB() throws {
        let message = IOTLBMessage(iova: 1, size: 2, frontendAddress: 3, permissions: 1, kind: .miss)
        let padded = MessageCodec.encode(.iotlb(message))
        #expect(try MessageCodec.decode(.iotlb, from: padded.prefix(26)) == .iotlb(message))
        #expect(message.kind == .miss)
    }

    @Test("A region count far beyond the bytes is refused without reserving memory for it")
    func hugeRegionCount() {
        let table = bytes("ffffffff 00000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000")
        #expect(throws: PayloadError.self) { try MessageCodec.decode(.memoryTable, from: table) }
    }

    @Test func header() throws {
        let header = MessageHeader(request: 24, flags: [.version1, .needReply], size: 72)
        var encoded: [UInt8] = []
        header.encode(into: &encoded)
        #expect(encoded == bytes("18000000 09000000 48000000"))
        #expect(try MessageHeader(decoding: encoded) == header)
        #expect(throws: PayloadError.self) { try MessageHeader(decoding: encoded.dropLast()) }
        #expect(header.flags.version == 1)
    }

    @Test func messages() throws {
        let request = Message(.setVringEnable, .vringState(VringState(index: 1, number: 1)), needReply: true)
        #expect(request.encoded == bytes("12000000 09000000 08000000 01000000 01000000"))
        #expect(request.needsReply && !request.isReply)
        let reply = request.reply(.u64(0))
        #expect(reply.encoded == bytes("12000000 05000000 08000000 0000000000000000"))
        #expect(reply.isReply && !reply.needsReply)
        #expect(Message(.configChange, needReply: false).encoded == bytes("02000000 01000000 00000000"))
    }

    @Test("The u64 of a vring's descriptor keeps bits nobody should set")
    func reservedBits() {
        let reference = VringDescriptorReference(rawValue: 0x1_0000_0302)
        #expect(reference.index == 2)
        #expect(!reference.hasDescriptor)
        #expect(reference.reserved == 0x1_0000_0200)
        #expect(reference.rawValue == 0x1_0000_0302)
    }
}
