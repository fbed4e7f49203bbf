import Foundation
import LinuxSystem

/// A daemon that is killed and started again while its clients go on.
actor MortalServer {
    /// One process of it.
    private struct Life {
        let server: RunningProgram
        /// Ends the process, and the task when it is gone.
        let end: AsyncStream<Void>.Continuation
        let task: Task<Void, any Error>
    }

    private let program: String
    private let arguments: [String]
    private var life: Life?
    /// When each process was made, the one for `env` that becomes it included: nanoseconds of the monotonic clock.
    private(set) var starts: [UInt64] = []

    private init(_ program: String, _ arguments: [String]) {
        self.program = program
        self.arguments = arguments
    }

    /// Starts the program, runs `body`, and ends what runs then.
    static func with<Result: Sendable>(
        _ program: String, _ arguments: [String], _ body: @Sendable (MortalServer) async throws -> Result
    ) async throws -> Result {
        let server = MortalServer(program, arguments)
        try await server.start()
        let result: Swift.Result<Result, any Error>
        do {
            result = .success(try await body(server))
        } catch {
            result = .failure(TestbedError(error, "the server said last", await server.life?.server.journal.tail(40) ?? ""))
        }
        await server.signal(SIGCONT)
        try await server.end()
        return try result.get()
    }

    /// The process that runs now.
    var running: RunningProgram {
        get throws {
            guard let server = life?.server else { throw TestbedError("\(program) does not run") }
            return server
        }
    }

    func start() async throws {
        precondition(life == nil, "one process at a time")
        let (program, arguments) = (program, arguments)
        let (ends, end) = AsyncStream.makeStream(of: Void.self)
        let (births, birth) = AsyncStream.makeStream(of: RunningProgram.self)
        starts.append(MonotonicClock.now())
        let task = Task {
            defer { birth.finish() }
            try await Program.with(program, arguments) { server in
                birth.yield(server)
                for await _ in ends {}
            }
        }
        for await server in births {
            life = Life(server: server, end: end, task: task)
            return
        }
        try await task.value
        throw TestbedError("\(program) was not started")
    }

    func signal(_ number: Int32) { life?.server.signal(number) }

    /// SIGKILL; the process is gone afterwards. One that was gone before is an error: it ended by itself.
    func kill() async throws {
        guard let server = life?.server else { throw TestbedError("\(program) does not run") }
        guard server.isRunning else { throw TestbedError("\(server.name) has ended by itself; it said last:\n\(server.journal.tail(40))") }
        server.signal(SIGKILL)
        try await end()
    }

    /// SIGTERM; the process is gone afterwards, by itself within ten seconds.
    func terminate() async throws {
        guard let server = life?.server else { throw TestbedError("\(program) does not run") }
        let clock = ContinuousClock()
        let begin = clock.now
        try await end()
        let elapsed = begin.duration(to: clock.now)
        guard elapsed < .seconds(10) else { throw TestbedError("\(server.name) did not end within ten seconds of SIGTERM") }
    }

    private func end() async throws {
        guard let ending = life else { return }
        life = nil
        ending.end.finish()
        try await ending.task.value
    }
}

extension DiskServer {
    /// Serves the disks with a daemon that may be killed while `body` runs. `folder` takes the daemon's sockets and state.
    func serveMortally<Result: Sendable>(
        _ disks: [ServedDisk], in folder: String, _ body: @Sendable (MortalServer) async throws -> Result
    ) async throws -> Result {
        let (program, arguments) = command(disks, in: folder)
        return try await MortalServer.with(program, arguments) { server in
            if self == .vhublkd {
                let control = DaemonControl(socket: folder + "/control.sock")
                try await waitForSocket(control.socket, server.running)
                for disk in disks { try await control.create(disk) }
            }
            for disk in disks { try await waitForSocket(disk.socket, server.running) }
            return try await body(server)
        }
    }
}
