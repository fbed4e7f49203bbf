import ArgumentParser
import Foundation
import Testing
import Virtio

@testable import vhublk_bench

/// The result's forms; Foundation's JSON parser, which nothing here shares code with, reads what was written.
@Suite struct BenchReportTests {
    private func result() throws -> (RunResult, BenchOptions) {
        let options = try BenchOptions.parse(["--socket=/s", "--rw=randrw", "--verify=crc32c", "--output-format=json+", "--name=\"a\\b\n"])
        let plan = try RunPlan(options, features: [.blockFlush], config: RunPlanTests.config)
        var job = JobResult(plan: plan.jobs[0])
        job.runtime = 2_000_000_000
        job.directions[0].count = 1000
        for index in 1...1000 { job.directions[0].latency.record(UInt64(index) * 1000) }
        job.directions[1].count = 500
        job.directions[3].count = 2
        job.directions[3].latency.record(5000)
        job.usage = ThreadTimes(user: 1_000_000_000, system: 500_000_000, contextSwitches: 7)
        job.verifiedBlocks = 256
        var samples = RateSamples()
        samples.append([400, 200, 0])
        samples.append([600, 300, 0])
        return (
            RunResult(
                jobs: [job], samples: [samples], startTime: 1_700_000_000_123_456_789,
                recoveries: [
                    Recovery(lost: 50, connected: 1_999_050, completed: 2_000_050),
                    Recovery(lost: 3_000_000, connected: 11_997_000, completed: 12_000_000),
                ],
                failure: nil
            ), options
        )
    }

    @Test func jsonHasFiosShape() throws {
        let (result, options) = try result()
        let text = JSONReport(result: result, options: options).text
        let document = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(document["timestamp_ms"] as? Int == 1_700_000_000_123)
        let job = try #require((document["jobs"] as? [[String: Any]])?.first)
        #expect(job["jobname"] as? String == "\"a\\b\n")
        #expect(job["error"] as? Int == 0)
        #expect(job["usr_cpu"] as? Double == 50)
        #expect(job["job_runtime"] as? Int == 2000)
        #expect((job["job options"] as? [String: Any])?["bs"] as? String == "4k")
        for section in ["read", "write", "trim", "sync"] { #expect(job[section] != nil, "\(section)") }
        let recovery = try #require((document["recoveries"] as? [[String: Any]])?.last)
        #expect(recovery["outage_ns"] as? Int == 9_000_000)
        #expect(recovery["connect_ns"] as? Int == 3000)
        #expect(recovery["lost_at_ns"] as? Int == 3_000_000)
        #expect(recovery["connected_at_ns"] as? Int == 11_997_000)
        #expect(recovery["completed_at_ns"] as? Int == 12_000_000)
        let read = try #require(job["read"] as? [String: Any])
        #expect(read["iops"] as? Double == 500)
        #expect(read["io_bytes"] as? Int == 4_096_000)
        #expect(read["bw"] as? Int == 2000, "KiB a second")
        #expect(read["bw_bytes"] as? Int == 2_048_000)
        #expect(read["total_ios"] as? Int == 1000)
        #expect(read["iops_min"] as? Int == 400)
        #expect(read["iops_mean"] as? Double == 500)
        #expect(read["iops_samples"] as? Int == 2)
        for key in [
            "slat_ns", "clat_ns", "lat_ns", "bw_min", "bw_max", "bw_agg", "bw_mean", "bw_dev", "bw_samples", "short_ios", "drop_ios",
            "runtime",
        ] {
            #expect(read[key] != nil, "\(key)")
        }
        #expect(((job["sync"] as? [String: Any])?["lat_ns"] as? [String: Any])?["N"] as? Int == 1)
    }

    @Test func latenciesHavePercentilesAndBins() throws {
        let (result, options) = try result()
        let document = try #require(
            try JSONSerialization.jsonObject(with: Data(JSONReport(result: result, options: options).text.utf8)) as? [String: Any])
        let read = (document["jobs"] as? [[String: Any]])?.first?["read"] as? [String: Any]
        let latency = try #require(read?["clat_ns"] as? [String: Any])
        #expect(latency["min"] as? Int == 1000 && latency["max"] as? Int == 1_000_000 && latency["N"] as? Int == 1000)
        #expect(latency["mean"] as? Double == 500_500)
        #expect(abs((latency["stddev"] as? Double ?? 0) - 288_819.436) < 0.01)
        let percentiles = try #require(latency["percentile"] as? [String: Int])
        #expect(Set(percentiles.keys).isSuperset(of: ["1.000000", "50.000000", "99.000000", "99.990000"]))
        #expect(abs(percentiles["50.000000"]! - 500_000) < 5000)
        let bins = try #require(latency["bins"] as? [String: Int])
        #expect(bins.values.reduce(0, +) == 1000)
        #expect(bins.keys.allSatisfy { Int($0) != nil })
    }

    @Test func binsAreOnlyInJSONPlus() throws {
        var (result, options) = try result()
        options.output.format = .json
        result.jobs[0].failure = "verification failed"
        let text = JSONReport(result: result, options: options).text
        #expect(!text.contains("\"bins\""))
        #expect(text.contains("\"percentile\""))
        #expect(text.contains("\"error\" : 5"))
    }

    @Test func textForPeople() throws {
        let (result, options) = try result()
        let lines = TextReport(result: result, percentiles: options.output.percentiles.values).text.split(separator: "\n").map(String.init)
        #expect(lines.contains("  read: IOPS=500, BW=1.95MiB/s, 3.91MiB, 1.00k requests in 2.00s"), "\(lines)")
        #expect(lines.contains("  write: IOPS=250, BW=1000.0KiB/s, 1.95MiB, 500 requests in 2.00s"), "\(lines)")
        #expect(lines.contains("    clat: min=1.00us, avg=500.5us, max=1.00ms, stdev=288.8us"), "\(lines)")
        #expect(lines.contains("  verify: crc32c, 256 blocks (1.00MiB), all good"), "\(lines)")
        #expect(!lines.contains { $0.hasPrefix("  trim") })
        #expect(lines.contains("  outage: median=9.00ms, max=9.00ms"), "\(lines)")
    }

    @Test func jobsTogether() throws {
        var (result, _) = try result()
        var second = result.jobs[0]
        second.plan.index = 1
        second.failure = "write at byte 4096 ended with IOERR"
        result.jobs.append(second)
        result.samples.append(result.samples[0])
        let grouped = result.grouped
        #expect(grouped.jobs.count == 1)
        #expect(grouped.jobs[0].directions[0].count == 2000)
        #expect(grouped.jobs[0].directions[0].latency.count == 2000)
        #expect(grouped.samples[0].summary(.read).mean == 1000)
        #expect(result.firstFailure == "job 1: write at byte 4096 ended with IOERR")
    }

    @Test func numbers() {
        #expect(formatFixed(1.005, 2) == "1.00" || formatFixed(1.005, 2) == "1.01")
        #expect(
            [formatFixed(0, 3), formatFixed(-1.5, 0), formatFixed(12.3456, 3), formatFixed(-0.0001, 2)] == [
                "0.000", "-2", "12.346", "0.00",
            ])
        #expect([999, 1000, 1_234_567, 0.5].map { formatScaled($0) } == ["999", "1.00k", "1.23M", "0.50"])
        #expect([812, 14_200, 5_200_000_000].map { formatTime($0) } == ["812ns", "14.20us", "5.20s"])
        #expect(formatBytes(1536) == "1.50KiB")
    }
}
