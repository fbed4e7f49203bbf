/// The rules on which a ring's survival of a crash rests: what is stored before what, and what a recovery does.
///
/// They exist as names so that the simulator can break one at a time and show that it notices. A ring asks its observer whether a rule is
/// broken (``StoreObserver/breaks(_:)``); that of the daemon answers false at compile time, so nothing of this is in its code.
public enum OrderingRule: String, CaseIterable, Sendable {
    // MARK: Both formats

    /// A new daemon begins behind what the region says is in flight, not where the front-end's base says.
    case positionFromRegion
    /// A fresh region takes its used position from the ring, which may have a past.
    case freshUsedPositionFromRing
    /// A fresh region gets its version after all else: the version makes it valid.
    case freshVersionLast
    /// Requests in flight are done again in the order of their counters.
    case resubmissionInOrder
    /// Requests in flight are done again before new ones are taken.
    case resubmissionFirst
    /// A new daemon counts on from the largest counter in flight.
    case counterContinues
    /// A ring that starts signals the driver once, whatever its wishes: the signal of an earlier daemon may be lost.
    case signalAtStart

    // MARK: Beside the rings

    /// What a batch wrote to buffers is in the dirty log before the driver can see the batch.
    case buffersLoggedBeforeUsed
    /// What a batch wrote to the ring is in the dirty log.
    case usedIsLogged
    /// What the device wrote to be notified, or not to be, is in the dirty log.
    case notificationIsLogged
    /// A ring that begins to log puts all into it that it may have written before.
    case ringLoggedAtStart
    /// What was noted for a log and not yet put there goes into it before another one takes its place.
    case notedIsLogged

    // MARK: Split

    /// A chain is marked when it is popped, before it is carried out.
    case splitMarkAtPop
    /// A chain's counter is stored before its mark.
    case splitCounterBeforeMark
    /// A used element is stored before the used index that shows it.
    case splitElementBeforeIndex
    /// An entry's link into the batch is stored before the used index.
    case splitLinkBeforeIndex
    /// `last_batch_head` is stored before the used index.
    case splitBatchHeadBeforeIndex
    /// Marks are taken off after the used index is stored.
    case splitMarksAfterIndex
    /// The region's used index is stored after the marks are gone.
    case splitRegionIndexAfterMarks
    /// A recovery takes the marks of a batch off that was used but not declared over.
    case splitLastBatchUnmarked
    /// A recovery stores the region's used index after the marks are gone.
    case splitRecoveryIndexAfterMarks

    // MARK: Packed

    /// A chain's descriptors are copied to the region before the free head moves past their entries.
    case packedDescriptorsBeforeFreeHead
    /// A chain's last entry and length are stored before the free head moves.
    case packedFieldsBeforeFreeHead
    /// A chain's counter is stored before the free head moves.
    case packedCounterBeforeFreeHead
    /// A chain is marked before the free head moves.
    case packedMarkBeforeFreeHead
    /// A batch's first used descriptor, which lets the driver see it, is stored last.
    case packedFirstDescriptorLast
    /// The entries of a batch are linked into the free list before its first used descriptor is stored.
    case packedLinksBeforeCommit
    /// The new free head is stored before the batch's first used descriptor.
    case packedFreeHeadBeforeCommit
    /// The new used position is stored before the batch's first used descriptor.
    case packedUsedPositionBeforeCommit
    /// Marks are taken off after the batch's first used descriptor is stored.
    case packedMarksAfterCommit
    /// A batch is declared over with the free heads first and the used positions last.
    case packedFreeHeadsSettleFirst
    /// A recovery goes forward when the ring shows the batch used, back when it does not.
    case packedBatchDecidedByRing
    /// A recovery compares wrap counters besides indices: a batch may be a whole lap.
    case packedWrapCompared
    /// A recovery takes the marks of free entries off.
    case packedFreeEntriesUnmarked
    /// A recovery makes old and new heads the same with the free heads first.
    case packedRecoveryFreeHeadsFirst
    /// A recovery gives the used descriptors of a batch that does not count back the bits of available ones.
    case packedLeftoversTakenBack
}
