/// What an export does with requests that its backing fails: `report`, `hold`, or `hold:SECONDS`.
public struct ErrorChoice: Sendable, Equatable {
    /// For how many seconds a request is held at most; nil when errors are reported at once, 0 for as long as it takes.
    public var holdSeconds: Int?

    /// Errors go to the guest at once.
    public static let report = ErrorChoice(holdSeconds: nil)
    /// The longest hold that ends, in seconds: a year.
    public static let holdSecondsMax = 31_536_000

    /// Holds for so many seconds; nil reports.
    public init(holdSeconds: Int?) { self.holdSeconds = holdSeconds }

    /// Reads a text; nil when it is none of the three.
    public init?(parsing text: String) {
        switch text {
        case "report": self = .report
        case "hold": self = ErrorChoice(holdSeconds: 0)
        default:
            let digits = text.hasPrefix("hold:") ? text.dropFirst("hold:".count) : ""
            guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let seconds = Int(digits),
                seconds <= Self.holdSecondsMax
            else { return nil }
            self = ErrorChoice(holdSeconds: seconds)
        }
    }

    /// The choice as it is written.
    public var text: String {
        switch holdSeconds {
        case nil: "report"
        case 0: "hold"
        case .some(let seconds): "hold:\(seconds)"
        }
    }
}

extension ErrorChoice: Codable {
    /// Reads the text.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let choice = ErrorChoice(parsing: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "neither report, hold nor hold:SECONDS")
        }
        self = choice
    }

    /// Writes the text.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }
}
