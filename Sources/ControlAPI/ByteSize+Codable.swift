public import LinuxSystem

extension ByteSize: Codable {
    /// Decodes an integer or a string with a suffix.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let bytes = try? container.decode(Int64.self), bytes >= 0 {
            self.init(UInt64(bytes))
            return
        }
        guard let size = ByteSize(parsing: (try? container.decode(String.self)) ?? "") else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a size in bytes")
        }
        self = size
    }

    /// Encodes the number of bytes.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }
}
