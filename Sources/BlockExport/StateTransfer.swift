internal import LinuxSystem

/// The way of a device state through the pipe of SET_DEVICE_STATE_FD: as much at a time as the other side takes or has, bounded in length
/// and time, and nobody else waits for it.
@ControlActor
final class StateTransfer {
    /// How long the other side may take.
    static let timeoutNanoseconds: UInt64 = 10_000_000_000

    private let channel: FileDescriptor
    private var bytes: [UInt8]
    private var position = 0
    private let isSaving: Bool
    private var watch: Registration?
    private var timer: TimerRegistration?
    private var completion: (@ControlActor (Result<[UInt8], DeviceStateError>) -> Void)?

    /// Writes `bytes` and closes the channel.
    init(saving bytes: [UInt8], to channel: FileDescriptor) {
        (self.bytes, self.channel, isSaving) = (bytes, channel, true)
    }

    /// Reads to the end of the stream.
    init(loadingFrom channel: FileDescriptor) {
        (bytes, self.channel, isSaving) = ([], channel, false)
    }

    /// Begins; called back once, unless it is cancelled.
    func start(
        timeoutNanoseconds: UInt64 = StateTransfer.timeoutNanoseconds,
        completion: @escaping @ControlActor (Result<[UInt8], DeviceStateError>) -> Void
    ) {
        self.completion = completion
        timer = EventLoop.control.after(nanoseconds: timeoutNanoseconds) { [self] in
            finish(
                .failure(
                    DeviceStateError("the front-end did not \(isSaving ? "take" : "send") it within \(timeoutNanoseconds / 1_000_000) ms")))
        }
        do {
            watch = try EventLoop.control.register(channel, interest: isSaving ? .write : .read) { [self] _ in advance() }
        } catch {
            finish(.failure(DeviceStateError("its channel cannot be waited for: \(error)")))
        }
    }

    /// Ends it without a word.
    func cancel() {
        completion = nil
        end()
    }

    private func advance() {
        guard completion != nil else { return }
        do throws(SystemError) {
            if isSaving { try write() } else { try read() }
        } catch {
            finish(.failure(DeviceStateError("its channel failed: \(error)")))
        }
    }

    private func write() throws(SystemError) {
        let rest = Array(bytes[position...])
        // The descriptor reads the array during the call only.
        let count = try unsafe rest.span.withUnsafeBytes { buffer throws(SystemError) in try unsafe channel.write(buffer) }
        position += count ?? 0
        if position == bytes.count { finish(.success(bytes)) }
    }

    private func read() throws(SystemError) {
        var chunk = [UInt8](repeating: 0, count: 4096)
        var span = chunk.mutableSpan
        // The buffer lives for the call only, and the channel writes no more than its size.
        let count = try unsafe span.withUnsafeMutableBytes { buffer throws(SystemError) in try unsafe channel.read(into: buffer) }
        guard let count else { return }
        bytes += chunk.prefix(count)
        if count == 0 {
            finish(.success(bytes))
        } else if bytes.count > DeviceState.byteCountMax {
            finish(.failure(DeviceStateError("it is longer than \(DeviceState.byteCountMax) bytes")))
        }
    }

    private func finish(_ result: Result<[UInt8], DeviceStateError>) {
        guard let completion else { return }
        self.completion = nil
        end()
        completion(result)
    }

    private func end() {
        // The watch holds the channel: the other side sees the end of the stream when this object goes, which is at once.
        watch?.cancel()
        watch = nil
        timer?.cancel()
        timer = nil
    }
}
