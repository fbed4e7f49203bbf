/// Why something does not work, as part of a result.
public struct ErrorInfo: DescribedObject {
    /// The kind as a word, one of `ErrorKind`.
    public var kind: String
    /// The thing and the reason.
    public var message: String
    /// What to do about it.
    public var hint: String?

    /// Members.
    public static var fields: [Field] {
        [
            .required(CodingKeys.kind, .text, "the kind, as in an error's data"),
            .required(CodingKeys.message, .text, "the thing and the reason"),
            .optional(CodingKeys.hint, .text, "what to do about it"),
        ]
    }

    /// The same as an error that was thrown.
    public init(_ error: ControlError) {
        kind = error.data?.kind ?? ErrorKind.internal.rawValue
        message = error.message
        hint = error.data?.hint
    }
}
