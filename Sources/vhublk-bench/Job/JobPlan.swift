/// What one job does, checked against the device.
struct JobPlan: Sendable, Equatable {
    var index: Int
    var name: String
    var workload: Workload
    /// Bytes of a request.
    var blockSize: Int
    var depth: Int
    /// Where the job's blocks begin on the device, in bytes, and how many they are.
    var firstByte: UInt64
    var blockCount: UInt64
    /// End after so many requests; nil for never.
    var requestLimit: UInt64?
    /// End after so long; nil for never.
    var runtime: UInt64?
    /// Requests a second; nil for as many as possible.
    var rate: UInt64?
    var readPercentage: Int
    var flushInterval: UInt64
    var verifies: Bool
    var verifiesAfterwards: Bool
    var unmap: Bool
    var seed: UInt64
    var wait: WaitMode
    var measuresLatency: Bool
    /// How long a request may take.
    var timeout: UInt64
    var cpu: Int?

    /// Sector of a block's first byte.
    func sector(of block: UInt64) -> UInt64 { byte(of: block) / 512 }

    /// Place of a block's first byte on the device.
    func byte(of block: UInt64) -> UInt64 { firstByte + block * UInt64(blockSize) }
}
