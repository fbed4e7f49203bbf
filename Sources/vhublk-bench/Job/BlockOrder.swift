/// The order in which a job goes over its blocks: one after the other, or a permutation, so that a pass visits each block exactly once.
struct BlockOrder {
    let count: UInt64
    let isRandom: Bool
    private var state: UInt64 = 0
    private var increment: UInt64
    private var key: UInt64 = 0
    private let mask: UInt64
    private let shift: UInt64
    private var mixer: RandomGenerator

    init(count: UInt64, isRandom: Bool, seed: UInt64) {
        precondition(count > 0, "an order needs a block")
        self.count = count
        self.isRandom = isRandom
        let bits = UInt64(max(2, UInt64.bitWidth - (count - 1).leadingZeroBitCount))
        mask = bits == 64 ? .max : (1 << bits) - 1
        shift = bits / 2 + 1
        mixer = RandomGenerator(seed: seed)
        increment = 1
        if isRandom { shuffle() }
    }

    /// The next block, for ever.
    @inline(__always)
    mutating func next() -> UInt64 {
        guard isRandom else {
            let block = state
            state = state + 1 == count ? 0 : state + 1
            return block
        }
        // A full-period congruential generator modulo the next power of two (a - 1 divisible by 4, c odd) visits every number once; the
        // xor-shift behind it is a bijection that keeps the low bits from alternating. Numbers past the end are passed over.
        while true {
            state = (state &* 0x5851_f42d_4c95_7f2d &+ increment) & mask
            let number = state ^ key
            let block = number ^ number >> shift
            if block < count { return block }
        }
    }

    /// Another permutation for the next pass.
    mutating func shuffle() {
        guard isRandom else { return }
        state = mixer.next() & mask
        increment = mixer.next() | 1
        key = mixer.next() & mask
    }
}

/// splitmix64: small, fast, and good enough to choose places and bytes.
struct RandomGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    @inline(__always)
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }
}
