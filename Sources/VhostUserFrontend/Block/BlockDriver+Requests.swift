import LinuxSystem

/// One request at a time, waited for: for tests and small tools. Queues that were handed to threads of their own must not be used so.
extension BlockDriver {
    /// How a request ended, and the data that came.
    public struct Answer: Sendable, Equatable {
        /// The status byte.
        public var status: BlockStatus
        /// Bytes the device says it wrote, the status byte included.
        public var length: UInt32
        /// The data segments after the request.
        public var bytes: [UInt8]
    }

    /// Sends one request of any kind: `data` goes to the device, or `length` bytes come from it.
    public func request(
        _ command: BlockCommand, sector: UInt64 = 0, data: [UInt8]? = nil, length: Int = 0, queue index: Int = 0
    ) throws(FrontendError) -> Answer {
        let size = data?.count ?? length
        let buffer = queues[index].buffer(0)
        guard size <= buffer.size else {
            throw FrontendError(.memory, "a request of \(size) bytes does not fit a slot of \(buffer.size)")
        }
        // The slot's memory is `buffer.size` bytes long and belongs to this thread until the request is submitted.
        if let data { unsafe UnsafeMutableRawBufferPointer(start: buffer.pointer, count: size).copyBytes(from: data) }
        guard queues[index].submit(command, slot: 0, sector: sector, length: size, toDevice: data != nil) else {
            throw FrontendError(.ring, "the ring is full")
        }
        queues[index].flushSubmissions()
        let completion = try awaitCompletion(queue: index)
        // The device is done with the memory, and says nothing of it any more.
        let bytes = data == nil ? unsafe Array(UnsafeRawBufferPointer(start: buffer.pointer, count: size)) : []
        return Answer(status: completion.status, length: completion.length, bytes: bytes)
    }

    /// Waits for the next request of a queue to come back.
    public func awaitCompletion(queue index: Int = 0) throws(FrontendError) -> BlockCompletion {
        let deadline = MonotonicClock.now() &+ options.timeoutNanoseconds
        var completion = BlockCompletion()
        while true {
            switch queues[index].poll(&completion) {
            case .completed: return completion
            case .violation(let violation): throw FrontendError(.ring, "the device broke ring \(index): \(violation)")
            case .none: break
            }
            let now = MonotonicClock.now()
            if now >= deadline {
                throw FrontendError(.timedOut, "no request of queue \(index) came back within \(options.timeoutNanoseconds / 1_000_000) ms")
            }
            if !queues[index].enableCalls() { queues[index].sleep(nanoseconds: Int64(clamping: deadline - now)) }
        }
    }

    /// Sends one request and expects success.
    private func demand(
        _ name: String, _ command: BlockCommand, sector: UInt64 = 0, data: [UInt8]? = nil, length: Int = 0, queue: Int
    ) throws(FrontendError) -> [UInt8] {
        let answer = try request(command, sector: sector, data: data, length: length, queue: queue)
        guard answer.status == .ok else {
            throw FrontendError(.request, "\(name) at sector \(sector) ended with \(answer.status)")
        }
        return answer.bytes
    }

    /// Reads whole sectors; long reads go in several requests.
    public func read(sector: UInt64, count: Int, queue: Int = 0) throws(FrontendError) -> [UInt8] {
        let step = options.layout.slotBytes & ~511
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = min(step, count - bytes.count)
            bytes += try demand("read", .read, sector: sector + UInt64(bytes.count / 512), length: part, queue: queue)
        }
        return bytes
    }

    /// Writes whole sectors; long writes go in several requests.
    public func write(sector: UInt64, _ bytes: [UInt8], queue: Int = 0) throws(FrontendError) {
        let step = options.layout.slotBytes & ~511
        for start in stride(from: 0, to: bytes.count, by: step) {
            let part = Array(bytes[start..<min(start + step, bytes.count)])
            _ = try demand("write", .write, sector: sector + UInt64(start / 512), data: part, queue: queue)
        }
    }

    /// Makes completed writes durable.
    public func flush(queue: Int = 0) throws(FrontendError) { _ = try demand("flush", .flush, queue: queue) }

    /// The device's serial: up to 20 bytes, ended by a zero byte when shorter.
    public func serial(queue: Int = 0) throws(FrontendError) -> String {
        let bytes = try demand("get id", .getID, length: 20, queue: queue)
        return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    /// Discards, zeroes or erases ranges.
    public func apply(_ command: BlockCommand, _ ranges: [SectorRange], queue index: Int = 0) throws(FrontendError) {
        guard queues[index].submit(command, slot: 0, ranges: ranges) else { throw FrontendError(.ring, "the ring is full") }
        queues[index].flushSubmissions()
        let completion = try awaitCompletion(queue: index)
        guard completion.status == .ok else {
            throw FrontendError(.request, "request \(command.rawValue) over \(ranges.count) ranges ended with \(completion.status)")
        }
    }
}
