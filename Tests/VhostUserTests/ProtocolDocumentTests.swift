import Glibc
import LinuxSystem
import Testing
import VhostUser
import Virtio

/// docs/protocol.md against the code: no bit or message without a row, and no row that says something else than what happens.
@Suite struct ProtocolDocumentTests {
    struct Row {
        var number: String
        var name: String
        var served: String
        var remark: String
    }

    /// The rows of the table under a heading, whose columns are number, name, served and a remark.
    static func rows(_ heading: String) throws -> [Row] {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let file = try FileDescriptor.open("/\(root)/docs/protocol.md", flags: O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        // The buffer lives for the call only, and the file writes no more than its size.
        let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        let lines = String(decoding: bytes.prefix(count ?? 0), as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        let start = try #require(lines.firstIndex(of: "## \(heading)"), "a section \(heading)")
        let section = lines[(start + 1)...].prefix { !$0.hasPrefix("## ") }
        return section.filter { $0.hasPrefix("|") }.dropFirst(2).map { line in
            let cells = line.split(separator: "|", omittingEmptySubsequences: false).dropFirst().dropLast().map { cell in
                String(cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
            }
            return Row(number: cells[0], name: cells[1], served: cells[2], remark: cells.count > 3 ? cells[3] : "")
        }
    }

    @Test("Protocol features: each named bit has a row; yes is what a session offers")
    func protocolFeatures() throws {
        let rows = try Self.rows("Protocol features")
        #expect(rows.map(\.name) == (0...22).map { ProtocolFeatures(rawValue: 1 << UInt64($0)).description })
        #expect(rows.map(\.number) == (0...22).map { "\($0)" })
        let offered = TestFrontend().session.offeredProtocolFeatures
        for row in rows {
            let bit = ProtocolFeatures(rawValue: 1 << UInt64(row.number)!)
            #expect(row.served == (offered.contains(bit) ? "yes" : "not offered"), "\(row.name)")
            #expect(row.served == "yes" || !row.remark.isEmpty, "\(row.name): because")
        }
    }

    @Test("Front-end messages: each has a row, and does or is refused as the row says")
    func frontendMessages() throws {
        let rows = try Self.rows("Messages from the front-end")
        #expect(rows.map(\.number) == FrontendRequest.allCases.map { "\($0.rawValue)" })
        #expect(rows.map(\.name) == FrontendRequest.allCases.map(\.name))
        for (row, request) in zip(rows, FrontendRequest.allCases) {
            let frontend = TestFrontend()
            frontend.negotiate()
            if request == .postcopyListen || request == .postcopyEnd {
                #expect(frontend.send(.postcopyAdvise).count == 1)
                if request == .postcopyEnd { #expect(frontend.ask(.postcopyListen) == 0) }
            } else {
                try frontend.setMemory()
            }
            if request == .removeMemoryRegion {
                #expect(frontend.ask(.removeMemoryRegion, .memoryRegion(TestFrontend.region())) == 0)
                #expect(row.served == "yes")
                continue
            }
            if request == .iotlbMessage {
                frontend.device.offeredFeatures.insert(.accessPlatform)
                frontend.send(.setFeatures, .u64(VirtioFeatures([.version1, .accessPlatform, .protocolFeatures]).rawValue))
                let update = IOTLBMessage(
                    iova: 0, size: 4096, frontendAddress: TestFrontend.frontendBase, permissions: 3, kind: .update)
                #expect(frontend.ask(.iotlbMessage, .iotlb(update)) == 0)
                #expect(row.served == "yes")
                continue
            }
            if request == .checkDeviceState {
                let transfer = DeviceStateTransfer(direction: 0, phase: 0)
                frontend.send(.setDeviceStateDescriptor, .deviceState(transfer), [try EventFD().descriptor])
            }
            let replies = frontend.send(request, AnswerTests.payload(request), try AnswerTests.descriptors(request), needReply: true)
            let happened = frontend.notices.isEmpty ? "yes" : "refused, \(TestFrontend.u64(replies) ?? 0)"
            #expect(row.served == happened, "\(row.name)")
        }
        let unknown = TestFrontend()
        unknown.negotiate()
        unknown.session.receive(Message(request: 45, flags: [.version1, .needReply], payload: []))
        #expect(TestFrontend.u64(unknown.takeReplies()) == 1, "\"Every other id is refused with code 1\"")
    }

    @Test("Back-end messages: each has a row; those that are sent are those a session can send")
    func backendMessages() throws {
        let rows = try Self.rows("Messages to the front-end")
        #expect(rows.map(\.number) == BackendRequest.allCases.map { "\($0.rawValue)" })
        #expect(rows.map(\.name) == BackendRequest.allCases.map(\.name))
        let offered = TestFrontend().session.offeredProtocolFeatures
        for (row, request) in zip(rows, BackendRequest.allCases) {
            let isPossible =
                switch request.shape.gate {
                // Negotiated for GET_SHMEM_CONFIG alone: what it answers has no region to map into.
                case .negotiated(.sharedMemory): false
                case .negotiated(let bit): offered.contains(bit)
                case .feature(let bit): VirtioFeatures.rings.contains(bit)
                case .always, .offered: true
                }
            #expect(row.served == (isPossible ? "yes" : "no"), "\(row.name)")
            #expect(!row.remark.isEmpty, "\(row.name)")
        }
    }

    @Test("Refusals: the codes and their names")
    func refusals() throws {
        let rows = try Self.rows("Refusals")
        #expect(rows.map(\.number) == Refusal.Code.allCases.map { "\($0.rawValue)" })
        #expect(rows.map(\.name) == Refusal.Code.allCases.map { "\($0)" })
        #expect(rows.allSatisfy { !$0.served.isEmpty })
    }

    @Test("Device features: each named bit has a row; yes is what some disk offers")
    func deviceFeatures() throws {
        let rows = try Self.rows("Device features")
        let named = (0..<64).filter { !VirtioFeatures(rawValue: 1 << UInt64($0)).description.hasPrefix("bit ") }
        #expect(rows.map(\.number) == named.map { "\($0)" })
        #expect(rows.map(\.name) == named.map { VirtioFeatures(rawValue: 1 << UInt64($0)).description })
        let able = Self.ableDisk
        var readOnly = able
        readOnly.isReadOnly = true
        let offered = able.features.union(readOnly.features).union(.rings).union(.protocolFeatures)
        for row in rows {
            let bit = VirtioFeatures(rawValue: 1 << UInt64(row.number)!)
            #expect(row.served == (offered.contains(bit) ? "yes" : "not offered"), "\(row.name)")
            #expect(row.served == "yes" || !row.remark.isEmpty, "\(row.name): because")
        }
    }

    static var ableDisk: BlockAbilities {
        let range = BlockRangeLimits(sectorsMax: 1 << 20, rangesMax: 16, sectorAlignment: 8)
        var disk = BlockAbilities(byteCount: 1 << 30)
        disk.queueCount = 4
        disk.segmentSizeMax = 1 << 20
        disk.discard = range
        disk.writeZeroes = range
        disk.secureErase = range
        return disk
    }

    @Test("Request types: those a disk with all abilities carries out, and the status of the others")
    func requestTypes() throws {
        var served: [UInt32: String] = [:]
        for row in try Self.rows("Request types") {
            let bounds = row.number.split(separator: " ").compactMap { UInt32($0) }
            for type in bounds[0]...bounds[bounds.count - 1] { served[type] = row.served }
        }
        let check = BlockRequestCheck(Self.ableDisk, negotiated: Self.ableDisk.features)
        let segments = UnsafeMutablePointer<IOVector>.allocate(capacity: 1)
        defer { unsafe segments.deallocate() }
        for type: UInt32 in 0...40 {
            var request = unsafe BlockRequest(placeholder: segments)
            request.type = type
            request.dataLength = 512
            switch check.verdict(request) {
            case .refused(let status):
                #expect(status == .unsupported)
                #expect(served[type] == nil || served[type] == "refused, UNSUPP", "type \(type)")
            default: #expect(served[type] == "yes", "type \(type)")
            }
        }
    }

    @Test("The numbers in the text are the limits in force")
    func limits() throws {
        let limits = SessionLimits()
        #expect(limits.memoryRegionCountMax == 509)
        #expect(limits.memoryTableRegionCountMax == 32)
        #expect(limits.mappedByteCountMax == 16 << 40)
        #expect(MessageLimits.payloadByteCountMax == 4096)
        #expect(MessageLimits.descriptorCountMax == 32)
        #expect(VirtqueueLayout.queueSizeMax == 32768)
    }
}
