import Testing
import Virtio

/// Stops the device after each single store it makes to shared memory, in its life and in its recoveries, and lets a new one go on: no
/// request is lost, none is done twice, and what comes back comes in the order of submission.
@Suite("Crash after every store")
struct CrashTests {
    /// A random history of `steps` events with an image after each store; then every image is recovered from.
    private func survive<Driver: CrashDriver>(_ type: Driver.Type, size: Int, entryCount: Int, seed: UInt64, steps: Int) throws {
        let world = try CrashWorld<Driver>(size: size, entryCount: entryCount)
        var random = SeededRandom(seed: seed)
        // Away from the start of the ring first.
        for _ in 0..<Int.random(in: 0...40, using: &random) { world.live(&random) }
        world.isRecording = true
        for _ in 0..<steps { world.live(&random) }
        #expect(world.images.count > 20)
        for (number, image) in world.images.enumerated() {
            try CrashWorld(world, image).recoverAndCheck(seed: seed &+ UInt64(number))
            // And the recovery itself dies after each of its stores.
            let second = try CrashWorld(world, image)
            second.isRecording = true
            second.step = "recovery of \(image.description)"
            second.start()
            for (number, image) in second.images.enumerated() {
                try CrashWorld(second, image).recoverAndCheck(seed: seed &+ UInt64(number))
            }
        }
    }

    @Test("split", arguments: [1, 2, 8] as [Int], 1...6 as ClosedRange<UInt64>)
    func split(size: Int, seed: UInt64) throws {
        try survive(SplitDriver.self, size: size, entryCount: size, seed: seed, steps: 120)
    }

    @Test("packed", arguments: [1, 2, 5, 8] as [Int], 1...6 as ClosedRange<UInt64>)
    func packed(size: Int, seed: UInt64) throws {
        try survive(PackedDriver.self, size: size, entryCount: size, seed: seed, steps: 120)
    }

    @Test("a ring smaller than the region announces", arguments: 11...12 as ClosedRange<UInt64>)
    func largerRegion(seed: UInt64) throws {
        try survive(SplitDriver.self, size: 4, entryCount: 13, seed: seed, steps: 100)
        try survive(PackedDriver.self, size: 4, entryCount: 13, seed: seed, steps: 100)
    }

    @Test("a batch that is the whole packed ring changes nothing but the wrap counter", arguments: [1, 2, 3, 4])
    func wholeLap(size: Int) throws {
        let world = try CrashWorld<PackedDriver>(size: size, entryCount: size)
        world.isRecording = true
        for _ in 0..<3 {
            for _ in 0..<size { world.add(descriptors: 1, isIndirect: false) }
            while world.pop() {}
            while !world.popped.isEmpty { world.push(at: world.popped.count - 1) }
            world.publish()
            world.takeUsed()
        }
        for (number, image) in world.images.enumerated() {
            try CrashWorld(world, image).recoverAndCheck(seed: UInt64(number))
        }
    }

    @Test("several deaths in a row, each in the middle of work", arguments: 1...4 as ClosedRange<UInt64>)
    func generations(seed: UInt64) throws {
        try die(SplitDriver.self, seed: seed)
        try die(PackedDriver.self, seed: seed)
    }

    private func die<Driver: CrashDriver>(_ type: Driver.Type, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        var world = try CrashWorld<Driver>(size: 8, entryCount: 8)
        for _ in 0..<60 {
            world.isRecording = true
            for _ in 0..<30 { world.live(&random) }
            guard let image = world.images.randomElement(using: &random) else { continue }
            world = try CrashWorld(world, image)
            world.start()
        }
        world.isRecording = true
        for _ in 0..<30 { world.live(&random) }
        for (number, image) in world.images.enumerated() {
            try CrashWorld(world, image).recoverAndCheck(seed: UInt64(number))
        }
    }
}
