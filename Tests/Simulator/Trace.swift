/// Tells what happens, for a person who looks into a failure; silent otherwise.
final class Trace {
    private let tell: ((String) -> Void)?
    /// The number of the event that happens.
    var event: UInt64 = 0

    init(_ tell: ((String) -> Void)?) { self.tell = tell }

    /// Tells something, if anybody listens.
    func note(_ text: @autoclosure () -> String) {
        if let tell { tell("\(event): \(text())") }
    }
}
