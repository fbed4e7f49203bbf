import Glibc
import LinuxSystem
import Testing

/// What handlers leave for their test to read.
@ControlActor
private final class Record {
    var numbers: [Int] = []
    var registrations: [Registration] = []
}

@Suite("The loop of the control thread")
struct EventLoopTests {
    @ControlActor @Test("Jobs posted from another thread run on the control thread, in order")
    func jobsRunInOrder() async throws {
        let record = Record()
        await withCheckedContinuation { continuation in
            let thread = try? PinnedThread(name: "poster") {
                for number in 0..<1000 {
                    ControlActor.post {
                        EventLoop.control.checkIsolated()
                        record.numbers.append(number)
                        if number == 999 { continuation.resume() }
                    }
                }
            }
            #expect(thread != nil)
        }
        #expect(record.numbers == Array(0..<1000))
    }

    @ControlActor @Test("The handler of a descriptor is called while it is readable, and not after cancel")
    func readableDescriptor() async throws {
        let event = try EventFD()
        var calls = 0
        var registration: Registration?
        await withCheckedContinuation { continuation in
            registration = try? EventLoop.control.register(event.descriptor, interest: .read) { readiness in
                #expect(readiness.canRead)
                #expect(event.drain() == 1)
                calls += 1
                if calls == 3 { continuation.resume() } else { event.signal() }
            }
            event.signal()
        }
        registration?.cancel()
        event.signal()
        await ControlActor.sleep(nanoseconds: 5_000_000)
        #expect(calls == 3)
    }

    @ControlActor @Test("A handler that cancels another one silences an event that was ready already")
    func cancelWithinRound() async throws {
        let events = [try EventFD(), try EventFD()]
        let record = Record()
        for event in events {
            record.registrations.append(
                try EventLoop.control.register(event.descriptor, interest: .read) { _ in
                    record.numbers.append(1)
                    for registration in record.registrations { registration.cancel() }
                })
        }
        for event in events { event.signal() }
        await ControlActor.sleep(nanoseconds: 5_000_000)
        #expect(record.numbers == [1])
    }

    @ControlActor @Test("Timers fire by deadline, not before it, and not when cancelled")
    func timers() async throws {
        var fired: [Int] = []
        let start = MonotonicClock.now()
        await withCheckedContinuation { continuation in
            EventLoop.control.after(nanoseconds: 3_000_000) { fired.append(3) }
            EventLoop.control.after(nanoseconds: 1_000_000) { fired.append(1) }
            let cancelled = EventLoop.control.after(nanoseconds: 2_000_000) { fired.append(2) }
            cancelled.cancel()
            EventLoop.control.after(nanoseconds: 5_000_000) {
                fired.append(5)
                continuation.resume()
            }
        }
        #expect(fired == [1, 3, 5])
        #expect(MonotonicClock.now() - start >= 5_000_000)
    }

    @ControlActor @Test("Signals come to the loop as calls")
    func signals() async throws {
        let record = Record()
        let registration = try EventLoop.control.register(signals: [SIGUSR1, SIGUSR2]) { record.numbers.append(Int($0)) }
        // Directed at this thread, which has all signals blocked: no other thread can be hit by them.
        pthread_kill(pthread_self(), SIGUSR2)
        pthread_kill(pthread_self(), SIGUSR1)
        await ControlActor.sleep(nanoseconds: 5_000_000)
        #expect(record.numbers.sorted() == [Int(SIGUSR1), Int(SIGUSR2)])
        registration.cancel()
    }

    @ControlActor @Test("What a handler waits for can be changed")
    func interest() async throws {
        let (near, far) = try UnixSocket.pair()
        let record = Record()
        let registration = try EventLoop.control.register(near, interest: .write) { readiness in
            record.numbers.append(readiness.canWrite ? 1 : 2)
            if readiness.canWrite { try? record.registrations.first?.setInterest([]) }
        }
        record.registrations = [registration]
        await ControlActor.sleep(nanoseconds: 5_000_000)
        #expect(record.numbers == [1])
        try registration.setInterest(.read)
        await ControlActor.sleep(nanoseconds: 2_000_000)
        #expect(record.numbers == [1])
        UnixSocket.shutdown(far)
        await ControlActor.sleep(nanoseconds: 5_000_000)
        #expect(record.numbers.count > 1)
        registration.cancel()
    }

    @ControlActor @Test("The result of a worker and error come back to the control thread")
    func worker() async throws {
        let sum = await Worker.run { 20 + 22 }
        #expect(sum == 42)
        EventLoop.control.checkIsolated()
        let failure = SystemError("open /x", errno: 13)
        await #expect(throws: failure) {
            try await Worker.run { () throws(SystemError) -> Int in throw failure }
        }
        EventLoop.control.checkIsolated()
    }

    @ControlActor @Test("More slow work than threads is all done")
    func manyWorkers() async throws {
        let total = await withTaskGroup(of: Int.self) { group in
            for number in 1...40 {
                group.addTask { await Worker.run { number } }
            }
            var sum = 0
            for await number in group { sum += number }
            return sum
        }
        #expect(total == 820)
    }
}
