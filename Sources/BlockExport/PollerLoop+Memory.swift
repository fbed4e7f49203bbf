internal import LinuxSystem

/// Guest memory that is registered with io_uring.
extension PollerLoop {
    /// Has the memory of a queue that wants it registered, in pieces, from the next turn on.
    func registerMemory(of queue: PolledQueue, _ token: UInt64) {
        guard let guest = queue.memoryToRegister else { return }
        do throws(SystemError) {
            let engine = try ioURing(isPolled: queue.pollsCompletions)
            if registrations == nil { registrations = MemoryRegistrations() }
            let memory = registrations?.use(guest, by: token, on: engine) { [unowned queue] in queue.reportRegistration($0) }
            queue.useRegistered(memory ?? [])
        } catch {
            queue.reportRegistration(MemoryRegistration(bytes: 0, reason: error.reason))
        }
    }
}
