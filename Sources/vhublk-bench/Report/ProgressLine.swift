import LinuxSystem
import Synchronization

/// The line on standard error that tells how a run is getting on.
final class ProgressLine {
    private let plan: RunPlan
    private let isShown: Bool
    private let isTerminal = StandardStream.error.isTerminal
    private var last: [UInt64] = [0, 0, 0]
    private var lastTime: UInt64 = 0
    private var width = 0

    init(plan: RunPlan, options: BenchOptions) {
        self.plan = plan
        isShown = options.output.eta == .always || options.output.eta == .auto && StandardStream.error.isTerminal
    }

    /// Shows the rates since the last call.
    func show(_ monitors: [JobMonitor], elapsed: UInt64) {
        guard isShown else { return }
        let counts = monitors.reduce([0, 0, 0]) { sum, monitor in zip(sum, monitor.counts).map { $0 + $1 } }
        let seconds = Double(max(1, elapsed - lastTime)) / 1e9
        let rates = zip(counts, last).map { Double($0 - $1) / seconds }
        (last, lastTime) = (counts, elapsed)
        write(line(monitors, rates, completed: counts.reduce(0, +), elapsed: elapsed))
    }

    private func line(_ monitors: [JobMonitor], _ rates: [Double], completed: UInt64, elapsed: UInt64) -> String {
        let active = monitors.count { !$0.isDone.load(ordering: .relaxed) }
        var parts = ["\(plan.options.workload.rawValue), jobs \(active)"]
        let verifyTotal = monitors.reduce(0) { $0 + $1.verifyTotal.load(ordering: .relaxed) }
        if verifyTotal > 0 {
            let verified = monitors.reduce(0) { $0 + $1.verified.load(ordering: .relaxed) }
            parts.append("verifying \(formatFixed(100 * Double(verified) / Double(verifyTotal), 1))%")
            return parts.joined(separator: ", ")
        }
        for (rate, name) in zip(rates, ["read", "write", "trim"]) where rate > 0 {
            let bandwidth = formatBytes(rate * Double(plan.options.blockSize.bytes))
            parts.append("\(name) \(formatScaled(rate)) IOPS \(bandwidth)/s")
        }
        if let share = share(completed: completed, elapsed: elapsed), share > 0 {
            let rest = Double(elapsed) / 1e9 * (1 - share) / share
            parts.append("\(formatFixed(100 * share, 1))%, eta \(formatDuration(rest))")
        }
        return parts.joined(separator: ", ")
    }

    /// How much of the run is done: of its time, or of its requests, whichever is further.
    private func share(completed: UInt64, elapsed: UInt64) -> Double? {
        var shares: [Double] = []
        if let runtime = plan.jobs.first?.runtime { shares.append(Double(elapsed) / Double(runtime)) }
        let limits = plan.jobs.compactMap(\.requestLimit)
        if limits.count == plan.jobs.count { shares.append(Double(completed) / Double(max(1, limits.reduce(0, +)))) }
        return shares.max().map { min(1, $0) }
    }

    private func formatDuration(_ seconds: Double) -> String {
        let whole = UInt64(max(0, seconds).rounded(.up))
        let rest = whole % 60 < 10 ? "0\(whole % 60)" : "\(whole % 60)"
        return whole < 3600 ? "\(whole / 60)m:\(rest)s" : "\(whole / 3600)h:\(whole / 60 % 60)m"
    }

    private func write(_ line: String) {
        // On a terminal one line is written over and over; elsewhere each is kept.
        StandardStream.error.write(isTerminal ? "\r" + padRight(line, width) : line + "\n")
        width = line.count
    }

    /// Takes the line off the terminal.
    func clear() {
        if isShown, isTerminal, width > 0 { StandardStream.error.write("\r" + padRight("", width) + "\r") }
    }
}
