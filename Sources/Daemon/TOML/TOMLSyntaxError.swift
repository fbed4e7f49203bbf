/// What is not TOML, or not of the TOML that a configuration file may hold.
struct TOMLSyntaxError: Error, Equatable {
    /// The line, counted from 1.
    var line: Int
    /// The key it is about, with the tables it is in; nil when the text is meant and not a value.
    var key: String?
    var reason: String
    /// The way out.
    var hint: String
}
