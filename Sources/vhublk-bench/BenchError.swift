/// Why a run ended without a result, or with a bad one: the thing, the reason, the way out.
struct BenchError: Error, CustomStringConvertible, Equatable {
    /// Whose fault it is, as the exit status tells it.
    enum Kind: Equatable {
        /// The command line asks for what cannot be: 2.
        case usage
        /// The device or the back-end failed: 1.
        case failure
    }

    var kind: Kind
    var message: String
    var hint: String?

    static func usage(_ message: String, hint: String? = nil) -> BenchError { BenchError(kind: .usage, message: message, hint: hint) }
    static func failure(_ message: String, hint: String? = nil) -> BenchError { BenchError(kind: .failure, message: message, hint: hint) }

    var description: String { hint.map { "\(message)\n  \($0)" } ?? message }
}
