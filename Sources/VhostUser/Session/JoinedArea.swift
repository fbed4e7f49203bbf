/// An area of a ring whose pages lie apart behind an IOMMU, mapped once more in one piece.
///
/// Another state of the IOTLB mostly leaves a ring where it is: the mapping is made again only when the pieces are others.
struct JoinedArea {
    /// Which memory a piece was. Weak: a region that goes is not to be kept, and none that comes is to be taken for it.
    private struct Origin {
        weak var owner: AnyObject?
        let address: UInt
        let count: Int

        init(_ piece: MappedPiece) {
            owner = piece.mapping.owner as AnyObject
            address = unsafe UInt(bitPattern: piece.base)
            count = piece.count
        }
    }
    private let origins: [Origin]
    let mapping: MappedMemory

    init(_ pieces: [MappedPiece], mapping: MappedMemory) {
        origins = pieces.map(Origin.init)
        self.mapping = mapping
    }

    var pieceCount: Int { origins.count }

    /// Whether it is made of these pieces.
    func isMade(of pieces: [MappedPiece]) -> Bool {
        origins.elementsEqual(pieces) { origin, piece in
            unsafe origin.address == UInt(bitPattern: piece.base) && origin.count == piece.count
                && origin.owner === piece.mapping.owner as AnyObject
        }
    }
}
