import ControlAPI

/// A table of a TOML document while the document is read: its members, and who made it, which decides who may add to it (TOML 1.0, "Table").
final class TOMLTable {
    /// What made a table.
    enum Origin {
        /// The header of a table below it: `[a.b]` makes `a`, and `[a]` may still come.
        case header
        /// Its own header, an element of `[[a]]`, or `{...}`.
        case ownHeader
        /// A dotted key: `a.b = 1` makes `a`, and only dotted keys of the same table add to it.
        case dottedKey
    }

    /// What a member is.
    enum Member {
        /// Anything that nothing may be added to.
        case value(JSONValue)
        case table(TOMLTable)
        /// The elements of `[[a]]`, at least one.
        case tables([TOMLTable])
    }

    var origin: Origin
    var members: [String: Member] = [:]

    init(_ origin: Origin) {
        self.origin = origin
    }

    /// The table with all that is in it.
    var json: JSONValue {
        .object(
            members.mapValues { member in
                switch member {
                case .value(let value): value
                case .table(let table): table.json
                case .tables(let tables): .array(tables.map(\.json))
                }
            })
    }
}
