import BlockExport
import Testing

/// Which waits are spun for.
@Suite struct SpinForecastTests {
    /// A queue that waits for one length of time after another, and what it spends.
    private struct Waits {
        var forecast = SpinForecast()
        var now: UInt64 = 1
        private(set) var spun = 0
        private(set) var spunNanoseconds: UInt64 = 0

        /// One wait; the work comes after so long, and a sleeper runs so much later.
        mutating func wait(_ nanoseconds: UInt64, inFlight: Bool = false, wakeUp: UInt64 = 5_000) {
            let until = forecast.begin(now: now, hasRequestsInFlight: inFlight)
            if until > now { spun += 1 }
            spunNanoseconds += min(until - now, nanoseconds)
            if now + nanoseconds < until {
                forecast.workCame()
                now += nanoseconds
            } else {
                forecast.sleeps()
                now += nanoseconds + wakeUp
                forecast.wakes(now: now)
            }
        }
    }

    @Test func shortWaitsAreSpunFor() {
        var waits = Waits()
        for _ in 0..<1000 { waits.wait(6_000) }
        #expect(waits.spun == 1000)
    }

    @Test func longWaitsAreNot() {
        var waits = Waits()
        for _ in 0..<16 { waits.wait(95_000) }
        let learning = waits.spun
        #expect(learning <= 6)
        for _ in 0..<1600 { waits.wait(95_000) }
        #expect(waits.spun - learning == 100, "one in sixteen")
        #expect(waits.spunNanoseconds <= UInt64(waits.spun) * SpinForecast.spinNanosecondsDefault)
    }

    @Test(arguments: [UInt64(5_000), 60_000])
    func aQueueThatBecomesQuickIsSpunForAgain(wakeUp: UInt64) {
        var waits = Waits()
        for _ in 0..<1000 { waits.wait(95_000) }
        // With the slow wake-up, only probes can tell that the waits are short.
        for _ in 0..<80 { waits.wait(8_000, wakeUp: wakeUp) }
        let before = waits.spun
        for _ in 0..<100 { waits.wait(8_000, wakeUp: wakeUp) }
        #expect(waits.spun - before == 100)
    }

    @Test func aSlowDiskIsNoReasonNotToSpinForAQuickGuest() {
        var waits = Waits()
        for _ in 0..<100 {
            waits.wait(90_000, inFlight: true)
            waits.wait(4_000)
        }
        let before = waits.spun
        for _ in 0..<160 {
            waits.wait(90_000, inFlight: true)
            waits.wait(4_000)
        }
        #expect(waits.spun - before == 160 + 10)
    }

    @Test(arguments: [UInt64(0), 5_000, 200_000])
    func theLongestSpinIsWhatWasSaid(limit: UInt64) {
        var waits = Waits(forecast: SpinForecast(spinNanosecondsMax: limit))
        for _ in 0..<1000 { waits.wait(2 * limit + 20_000) }
        #expect(waits.spunNanoseconds <= UInt64(waits.spun) * limit)
        #expect(waits.spun < 100, "waits that are longer than the spin are slept through")
        var short = Waits(forecast: SpinForecast(spinNanosecondsMax: limit))
        for _ in 0..<1000 { short.wait(limit / 2) }
        #expect(short.spun == (limit == 0 ? 0 : 1000))
    }

    @Test func oneLongWaitAmongShortOnesChangesNothing() {
        var waits = Waits()
        for _ in 0..<100 {
            for _ in 0..<9 { waits.wait(3_000) }
            waits.wait(1_000_000)
        }
        #expect(waits.spun == 1000)
    }
}
