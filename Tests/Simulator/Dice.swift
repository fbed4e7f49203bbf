/// All that is random in a simulation, from one seed: the same seed makes the same history (splitmix64).
final class Dice {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// 64 random bits.
    func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    /// A number from 0 to `bound` - 1.
    func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    /// A number of a range.
    func number(_ range: ClosedRange<Int>) -> Int { range.lowerBound + below(range.count) }

    /// True once in `times` on average.
    func once(in times: Int) -> Bool { below(times) == 0 }

    /// One of several.
    func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    /// The elements in another order.
    func shuffled<Element>(_ elements: [Element]) -> [Element] {
        var result = elements
        for index in stride(from: result.count - 1, to: 0, by: -1) { result.swapAt(index, below(index + 1)) }
        return result
    }
}
