/// Payloads to bytes and back: pure, both directions, for back-end and front-end.
///
/// Lengths are exact: a payload that is too short or too long is refused, however the message is meant.
public enum MessageCodec {
    /// The bytes of a payload.
    public static func encode(_ payload: Payload) -> [UInt8] {
        var bytes: [UInt8] = []
        switch payload {
        case .none: break
        case .u64(let value): bytes.append(integer: value)
        case .vringState(let state): encode(state, into: &bytes)
        case .vringAddress(let address): encode(address, into: &bytes)
        case .vringDescriptor(let reference): bytes.append(integer: reference.rawValue)
        case .vringArea(let area): encode(area, into: &bytes)
        case .memoryTable(let regions):
            bytes.append(integer: UInt32(regions.count))
            bytes.appendZeroes(4)
            for region in regions { encode(region, into: &bytes) }
        case .memoryRegion(let region):
            bytes.appendZeroes(8)
            encode(region, into: &bytes)
        case .log(let log):
            bytes.append(integer: log.size)
            bytes.append(integer: log.offset)
        case .iotlb(let message): encode(message, into: &bytes)
        case .config(let access): encode(access, into: &bytes)
        case .inflight(let inflight): encode(inflight, into: &bytes)
        case .deviceState(let transfer):
            bytes.append(integer: transfer.direction)
            bytes.append(integer: transfer.phase)
        case .sharedMemoryConfig(let config): encode(config, into: &bytes)
        case .sharedMemoryMapping(let mapping): encode(mapping, into: &bytes)
        case .uuid(let value), .opaque(let value): bytes.append(contentsOf: value)
        }
        return bytes
    }

    /// Reads a payload of the given kind; it takes every byte or throws.
    public static func decode(_ kind: Payload.Kind, from bytes: some Collection<UInt8>) throws(PayloadError) -> Payload {
        var reader = ByteReader(bytes)
        let payload = try decode(kind, &reader)
        try reader.finish()
        return payload
    }

    private static func decode(_ kind: Payload.Kind, _ reader: inout ByteReader) throws(PayloadError) -> Payload {
        switch kind {
        case .none: .none
        case .u64: .u64(try reader.read())
        case .vringState: .vringState(VringState(index: try reader.read(), number: try reader.read()))
        case .vringAddress: .vringAddress(try decodeVringAddress(&reader))
        case .vringDescriptor: .vringDescriptor(VringDescriptorReference(rawValue: try reader.read()))
        case .vringArea: .vringArea(VringArea(reference: try reader.read(), size: try reader.read(), offset: try reader.read()))
        case .memoryTable: .memoryTable(try decodeMemoryTable(&reader))
        case .memoryRegion: .memoryRegion(try decodeSingleRegion(&reader))
        case .log: .log(LogDescription(size: try reader.read(), offset: try reader.read()))
        case .iotlb: .iotlb(try decodeIOTLB(&reader))
        case .config: .config(try decodeConfig(&reader))
        case .inflight: .inflight(try decodeInflight(&reader))
        case .deviceState: .deviceState(DeviceStateTransfer(direction: try reader.read(), phase: try reader.read()))
        case .sharedMemoryConfig: .sharedMemoryConfig(try decodeSharedMemoryConfig(&reader))
        case .sharedMemoryMapping: .sharedMemoryMapping(try decodeSharedMemoryMapping(&reader))
        case .uuid: .uuid(try reader.readBytes(16))
        case .opaque: .opaque(reader.readRest())
        }
    }
}
