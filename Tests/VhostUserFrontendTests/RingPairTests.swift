import Testing
import VhostUserFrontend
import Virtio

/// Two readings of the specification against each other: this module's driver rings and Virtio's device rings.
@Suite struct RingPairTests {
    static let settings: [RingPairSetting] = {
        var settings: [RingPairSetting] = []
        let shapes: [(RingFormat, Int)] = [
            (.split, 2), (.split, 4), (.split, 8), (.split, 256), (.packed, 2), (.packed, 3), (.packed, 7), (.packed, 8), (.packed, 200),
        ]
        for (format, size) in shapes {
            for bits in 0..<8 {
                settings.append(
                    RingPairSetting(
                        format: format, size: size, eventIndex: bits & 1 != 0, indirect: bits & 2 != 0, inflight: bits & 4 != 0,
                        seed: UInt64.random(in: 0...UInt64.max)))
            }
        }
        return settings
    }()

    @Test(arguments: settings) func randomSequences(setting: RingPairSetting) throws {
        #expect(try completions(setting, steps: 3000) > 100, "\(setting)")
    }

    /// Past 65536 buffers every index and counter has wrapped.
    @Test(arguments: [RingFormat.split, .packed]) func longSequences(format: RingFormat) throws {
        let setting = RingPairSetting(
            format: format, size: 16, eventIndex: true, indirect: true, inflight: true, seed: UInt64.random(in: 0...UInt64.max))
        #expect(try completions(setting, steps: 500_000) > 65536, "\(setting)")
    }

    private func completions(_ setting: RingPairSetting, steps: Int) throws -> Int {
        switch setting.format {
        case .split:
            let pair = try RingPair<DriverSplitQueue, SplitVirtqueue>(setting)
            try pair.run(steps: steps)
            return pair.completed
        case .packed:
            let pair = try RingPair<DriverPackedQueue, PackedVirtqueue>(setting)
            try pair.run(steps: steps)
            return pair.completed
        }
    }
}
