/// Where an area of a ring lies in guest-physical memory, for the dirty log: in one piece, or behind an IOMMU in several.
public struct LoggedArea: Sendable, Equatable {
    private struct Piece: Sendable, Equatable {
        /// Where it begins in the area; it ends where the next one begins.
        var offset: Int
        var address: UInt64
    }
    private var pieces: [Piece] = []

    /// An area of any length in one piece.
    public init(_ address: UInt64) { pieces = [Piece(offset: 0, address: address)] }

    /// An area without pieces yet.
    init() {}

    /// The guest address of the first byte.
    public var start: UInt64 { pieces.first?.address ?? .max }

    /// Adds a piece behind those that there are.
    mutating func append(_ address: UInt64, at offset: Int) {
        // One that goes on where the last one ends is a part of it.
        if let last = pieces.last, last.address &+ UInt64(offset - last.offset) == address { return }
        pieces.append(Piece(offset: offset, address: address))
    }

    /// Tells for each piece of a range of the area, in bytes from its beginning, the guest address and the length.
    public func forEach(in range: Range<Int>, _ body: (UInt64, UInt64) -> Void) {
        for index in pieces.indices {
            let end = index + 1 < pieces.count ? pieces[index + 1].offset : Int.max
            let part = range.clamped(to: pieces[index].offset..<end)
            // A log address may be any number: one that wraps is past every log.
            if !part.isEmpty { body(pieces[index].address &+ UInt64(part.lowerBound - pieces[index].offset), UInt64(part.count)) }
        }
    }
}
