internal import BlockIO
internal import LinuxSystem
internal import Virtio

/// From the ring to the channel.
extension QueueCore {
    /// Takes what the driver made available and gives it to the channel.
    @inline(__always)
    mutating func take() -> PolledQueue.Take { take(upTo: Self.batchSizeMax) }

    /// Takes what an earlier daemon left in flight, as far as there are slots for it, and nothing new.
    @inline(never)
    mutating func takeResubmissions() {
        // Resubmissions come before anything new, so that so many chains are nothing else.
        while ring.resubmitCount > 0, case .taken(let count) = take(upTo: ring.resubmitCount), count > 0 {}
    }

    @inline(__always)
    private mutating func take(upTo limit: Int) -> PolledQueue.Take {
        refreshRules()
        guard let likely = unsafe slots.next(), case let look = unsafe ring.look(likely: likely.pointee.handle), look != .nothing else {
            count(0)
            return .taken(0)
        }
        // A driver that has few requests in flight takes last what it freed last, as the slots do: the same buffers again. They are fetched
        // before that is known, since all these lines come from the driver's core, and one address after the other leads to the next.
        unsafe Prefetch.toWrite(likely.pointee.status)
        unsafe Prefetch.toRead(likely.pointee.named)
        // One reading of the clock for all that a look finds, and none where the poller has just read it; an empty look costs none.
        let start = Channel.isImmediate ? clock.read() : clock.last()
        if look == .other { return takeOthers(upTo: limit, start) }
        var taken = 0
        while taken < limit, let slot = unsafe slots.next() {
            switch ring.popTransfer(memory.windows) {
            case .transfer(let transfer):
                unsafe slots.take(slot)
                unsafe begin(slot, transfer, start)
            case .empty:
                count(taken)
                return .taken(taken)
            case .other:
                let outcome = unsafe takeAny(slot, start)
                guard case .taken = outcome else { return end(taken, outcome) }
            }
            taken &+= 1
        }
        count(taken)
        return .taken(taken)
    }

    /// Takes chains that are to be resubmitted, or finds a fault.
    @inline(never)
    private mutating func takeOthers(upTo limit: Int, _ start: UInt64) -> PolledQueue.Take {
        var taken = 0
        repeat {
            guard let slot = unsafe slots.next() else { break }
            let outcome = unsafe takeAny(slot, start)
            guard case .taken = outcome else { return end(taken, outcome) }
            taken += 1
        } while taken < limit && ring.resubmitCount > 0
        count(taken)
        return .taken(taken)
    }

    /// Ends a look that found something else than a chain to take. Apart, since registers are short where the chains are taken.
    @inline(never)
    private func end(_ taken: Int, _ outcome: AnyTake) -> PolledQueue.Take {
        count(taken)
        switch outcome {
        case .taken, .empty: return .taken(taken)
        case .missed:
            guard let miss = memory.miss else { preconditionFailure("a miss has an address") }
            return .missed(taken, miss)
        case .broken(let fault): return .failed(fault.description)
        }
    }

    @inline(__always)
    private func count(_ taken: Int) {
        guard taken > 0 else { return counters.add(1, to: .emptyDispatches) }
        counters.add(1, to: .dispatches)
        counters.set(.inFlight, UInt64(truncatingIfNeeded: slots.used))
        if UInt64(truncatingIfNeeded: taken) > counters.read(.batchMax) { counters.set(.batchMax, UInt64(truncatingIfNeeded: taken)) }
    }

    /// Begins a read or write with one piece of data.
    @inline(__always)
    private mutating func begin(_ slot: UnsafeMutablePointer<RequestSlot>, _ transfer: PlainTransfer, _ start: UInt64) {
        unsafe slot.pointee.start = start
        unsafe slot.pointee.status = transfer.status
        unsafe slot.pointee.handle = transfer.handle
        unsafe slot.pointee.named = transfer.named
        guard check.passes(transfer) else {
            unsafe refuseTransfer(slot)
            return
        }
        unsafe slot.pointee.isPlain = true
        unsafe slot.pointee.usedLength = transfer.isRead ? transfer.dataLength &+ 1 : 1
        unsafe slot.pointee.kind = transfer.isRead ? .read : .write
        let segment = unsafe RequestSlots.inlineSegments(of: slot)
        unsafe segment.initialize(to: IOVector(base: transfer.data, length: Int(transfer.dataLength)))
        let operation = unsafe UnsafeMutableRawPointer(slot).assumingMemoryBound(to: IOOperation.self)
        unsafe operation.pointee.segments = segment
        unsafe operation.pointee.segmentCount = 1
        unsafe operation.pointee.kind = transfer.isRead ? .read : .write
        unsafe operation.pointee.flags = transfer.isRead ? [] : writeFlags
        unsafe operation.pointee.offset = transfer.sector << 9
        unsafe operation.pointee.length = UInt64(transfer.dataLength)
        unsafe submit(operation)
    }

    @inline(never)
    private mutating func refuseTransfer(_ slot: UnsafeMutablePointer<RequestSlot>) {
        unsafe slot.pointee.isPlain = false
        unsafe slot.pointee.byteCount = 0
        unsafe slot.pointee.usedLength = 1
        unsafe slot.pointee.kind = .other
        unsafe finishAtOnce(slot, RequestResult.ioError)
    }

    /// What the general way to a chain ended with.
    private enum AnyTake {
        case taken
        case empty
        /// Not taken: it waits for a translation, which ``memory`` tells.
        case missed
        case broken(RingFault)
    }

    /// Takes a chain of any shape into a slot that is still free.
    @inline(never)
    private mutating func takeAny(_ slot: UnsafeMutablePointer<RequestSlot>, _ start: UInt64) -> AnyTake {
        if isWithdrawn { return .empty }
        if let transfer = ring.popLinkedTransfer(memory.windows) {
            unsafe slots.take(slot)
            unsafe begin(slot, transfer, start)
            return .taken
        }
        var chain = DescriptorChain()
        var segments = unsafe SegmentBuffer(
            base: RequestSlots.inlineSegments(of: slot), capacity: Int32(RequestSlots.inlineSegments), spill: slots.nextSpill,
            spillCapacity: Int32(RequestSlots.spillSegments))
        memory.miss = nil
        let result = ring.pop(&memory, &segments, &chain)
        switch result {
        case .missed: return .missed
        case .empty: return .empty
        // What a ring seems to say whose pages never came says nothing.
        case .broken(let fault): return isWithdrawn ? .empty : .broken(fault)
        case .blocked: preconditionFailure("there is a spill block for each slot")
        case .chain, .malformed: memory.forgetDenied()
        }
        unsafe slots.take(slot)
        unsafe slot.pointee.start = start
        unsafe slot.pointee.spill = segments.hasSpilled ? slots.takeSpill() : nil
        if case .malformed = result {
            unsafe prepare(slot, chain)
            // Its status byte, where it could be found, is the only segment.
            unsafe slot.pointee.status = segments.base.pointee.base
            unsafe refuseMalformed(slot, hasStatus: chain.writableCount > 0)
        } else {
            unsafe begin(slot, chain, segments.base)
        }
        return .taken
    }

    private func prepare(_ slot: UnsafeMutablePointer<RequestSlot>, _ chain: DescriptorChain) {
        unsafe slot.pointee.handle = chain.handle
        unsafe slot.pointee.isPlain = false
        unsafe slot.pointee.byteCount = 0
    }

    /// Begins a request of any layout and type.
    @inline(never)
    private mutating func begin(
        _ slot: UnsafeMutablePointer<RequestSlot>, _ chain: DescriptorChain, _ segments: UnsafeMutablePointer<IOVector>
    ) {
        unsafe prepare(slot, chain)
        var request = unsafe BlockRequest(placeholder: segments)
        let outcome = unsafe request.parse(chain, segments)
        unsafe slot.pointee.status = request.status
        guard outcome == .request else {
            unsafe refuseMalformed(slot, hasStatus: outcome == .noHeader)
            return
        }
        let verdict = check.verdict(request)
        guard unsafe awaited == nil || hasArrived(request, verdict) else { return unsafe refuseWithdrawn(slot) }
        switch verdict {
        case .read:
            unsafe slot.pointee.usedLength = request.usedLength(.ok)
            unsafe slot.pointee.kind = .read
            unsafe addTransfer(slot, .read, request, [])
        case .write:
            unsafe slot.pointee.usedLength = 1
            unsafe slot.pointee.kind = .write
            unsafe addTransfer(slot, .write, request, writeFlags)
        case let verdict:
            unsafe beginCommand(slot, request, verdict)
        }
    }

    private mutating func addTransfer(_ slot: UnsafeMutablePointer<RequestSlot>, _ kind: IOKind, _ request: BlockRequest, _ flags: IOFlags)
    {
        let operation = unsafe UnsafeMutableRawPointer(slot).assumingMemoryBound(to: IOOperation.self)
        unsafe operation.initialize(to: IOOperation(completions: completions, segments: request.data))
        unsafe operation.pointee.segmentCount = request.dataCount
        unsafe operation.pointee.kind = kind
        unsafe operation.pointee.flags = flags
        unsafe operation.pointee.offset = request.sector << 9
        unsafe operation.pointee.length = request.dataLength
        unsafe slot.pointee.byteCount = request.dataLength
        unsafe submit(operation)
    }

    /// Everything but reads and writes.
    private mutating func beginCommand(_ slot: UnsafeMutablePointer<RequestSlot>, _ request: BlockRequest, _ verdict: BlockVerdict) {
        unsafe slot.pointee.usedLength = 1
        unsafe slot.pointee.kind = .other
        switch verdict {
        case .flush:
            unsafe slot.pointee.kind = .flush
            guard unsafe disk.canFlush else { return unsafe finishAtOnce(slot, RequestResult.ioError) }
            unsafe addRange(slot, .flush, BlockRange(sector: 0, sectorCount: 0))
        case .getID:
            unsafe request.writeID(disk.serial)
            if log != nil { unsafe noteSegments(request.data, Int(request.dataCount), in: guest) }
            unsafe slot.pointee.usedLength = request.usedLength(.ok)
            unsafe finishAtOnce(slot, 0)
        case .ranges(let command):
            unsafe beginRanges(slot, request, command)
        case .refused(let status):
            unsafe finishAtOnce(slot, RequestResult.of(status))
        case .read, .write:
            preconditionFailure("reads and writes are begun before")
        }
    }

    /// Checks all ranges, then begins with the first; the others follow as each completes.
    private mutating func beginRanges(_ slot: UnsafeMutablePointer<RequestSlot>, _ request: BlockRequest, _ command: BlockRangeCommand) {
        let capacity = RequestSlots.rangeCountMax
        let outcome = unsafe withUnsafeTemporaryAllocation(of: BlockRange.self, capacity: capacity) { copy in
            guard let ranges = copy.baseAddress else { return Result<Int, BlockRangeFault>.failure(.ioError) }
            let outcome = unsafe check.readRanges(request, command, into: ranges, capacity: capacity)
            // Copied aside first: the segments, which the ranges are read through, lie where the ranges go.
            if case .success(let count) = outcome { unsafe RequestSlots.ranges(of: slot).update(from: ranges, count: count) }
            return outcome
        }
        switch outcome {
        case .failure(let fault):
            unsafe finishAtOnce(slot, RequestResult.of(fault.status))
        case .success(let count):
            // The ranges were read just now, the request before.
            if isWithdrawn { return unsafe refuseWithdrawn(slot) }
            unsafe slot.pointee.kind = command == .discard ? .discard : command == .writeZeroes ? .writeZeroes : .other
            unsafe slot.pointee.rangesLeft = UInt8(count)
            unsafe slot.pointee.rangeIndex = 0
            unsafe continueRanges(slot, command == .discard ? .discard : command == .writeZeroes ? .writeZeroes : .secureErase)
        }
    }

    /// Begins the next range that has sectors; completes the request when there is none. Requests that were held and succeeded come here
    /// too, of whatever kind they are.
    mutating func continueRanges(_ slot: UnsafeMutablePointer<RequestSlot>, _ kind: IOKind) {
        if unsafe slot.pointee.isHeld { unsafe held?.end(slot) }
        while unsafe slot.pointee.rangesLeft > 0 {
            let range = unsafe RequestSlots.ranges(of: slot)[Int(slot.pointee.rangeIndex)]
            unsafe slot.pointee.rangesLeft -= 1
            unsafe slot.pointee.rangeIndex += 1
            if range.sectorCount > 0 {
                unsafe addRange(slot, kind, range)
                return
            }
        }
        unsafe finishAtOnce(slot, 0)
    }

    private mutating func addRange(_ slot: UnsafeMutablePointer<RequestSlot>, _ kind: IOKind, _ range: BlockRange) {
        let operation = unsafe UnsafeMutableRawPointer(slot).assumingMemoryBound(to: IOOperation.self)
        unsafe operation.initialize(to: IOOperation(completions: completions, segments: RequestSlots.inlineSegments(of: slot)))
        unsafe operation.pointee.kind = kind
        unsafe operation.pointee.flags = kind == .flush ? [] : writeFlags
        if range.mayUnmap { unsafe operation.pointee.flags.insert(.unmap) }
        unsafe operation.pointee.offset = range.byteOffset
        unsafe operation.pointee.length = range.byteCount
        unsafe slot.pointee.byteCount += operation.pointee.length
        unsafe submit(operation)
    }

    /// Puts a request that no engine sees among the completed ones, in order with them.
    func finishAtOnce(_ slot: UnsafeMutablePointer<RequestSlot>, _ result: Int64) {
        let operation = unsafe UnsafeMutableRawPointer(slot).assumingMemoryBound(to: IOOperation.self)
        unsafe operation.initialize(to: IOOperation(completions: completions, segments: RequestSlots.inlineSegments(of: slot)))
        unsafe operation.pointee.result = result
        unsafe completions.pointee.append(operation)
    }

    private mutating func refuseMalformed(_ slot: UnsafeMutablePointer<RequestSlot>, hasStatus: Bool) {
        counters.add(1, to: .malformed)
        unsafe slot.pointee.kind = .other
        unsafe finishAtOnce(slot, hasStatus ? RequestResult.ioError : RequestResult.noStatus)
    }
}
