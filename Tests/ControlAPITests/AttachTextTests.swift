import ControlAPI
import Testing

struct AttachTextTests {
    static func export(socket: String?, queues: Int = 4, queueSize: Int = 256) -> ExportInfo {
        var parameters = ExportParameters(name: "db0", backing: "/x", socket: socket, queues: queues)
        parameters.queueSize = queueSize
        var info = ExportInfo(parameters, state: .ready, origin: .control)
        info.queues = (0..<queues).map { QueueInfo(index: $0, state: "stopped", size: 0, format: "split") }
        return info
    }

    /// The key=value parts of a QEMU option, whose commas in values are doubled.
    static func qemuParts(_ option: String) -> [String: String] {
        let marked = option.replacing(",,", with: "\u{1}")
        return Dictionary(
            uniqueKeysWithValues: marked.split(separator: ",").map { part in
                let pair = part.replacing("\u{1}", with: ",").split(separator: "=", maxSplits: 1)
                return (String(pair[0]), pair.count > 1 ? String(pair[1]) : "")
            })
    }

    @Test func qemu() throws {
        let result = try #require(AttachText(Self.export(socket: "/run/a,b/db0.sock"))).result(.qemu)
        let options = Dictionary(
            uniqueKeysWithValues: stride(from: 0, to: result.arguments.count, by: 2).map {
                (result.arguments[$0], result.arguments[$0 + 1])
            })
        let memory = Self.qemuParts(try #require(options["-object"]))
        #expect(memory["share"] == "on")
        #expect(options["-machine"] == "memory-backend=\(memory["id"] ?? "")")
        #expect(memory["size"] == options["-m"])
        let chardev = Self.qemuParts(try #require(options["-chardev"]))
        #expect(chardev["path"] == "/run/a,b/db0.sock")
        #expect(chardev["reconnect-ms"] == "100" && chardev["reconnect"] == nil)
        let device = Self.qemuParts(try #require(options["-device"]))
        #expect(device["vhost-user-blk-pci"] != nil)
        #expect(device["chardev"] == chardev["id"])
        #expect(device["num-queues"] == "4" && device["queue-size"] == "256")
        #expect(result.notes.contains { $0.contains("packed=on") })
    }

    @Test(arguments: [("7.2", "reconnect"), ("9.1.9", "reconnect"), ("9.2", "reconnect-ms"), ("10.0", "reconnect-ms")])
    func qemuVersion(_ version: String, _ option: String) throws {
        let text = try #require(AttachText(Self.export(socket: "/s")))
        let result = text.result(.qemu, qemuVersion: QEMUVersion(parsing: version))
        let chardev = try #require(result.arguments.first { $0.hasPrefix("socket,") })
        #expect(Set(Self.qemuParts(chardev).keys) == ["socket", "id", "path", option])
        #expect(result.text.contains(option + "=") && !result.text.contains("#"))
    }

    @Test func qemuTextForAllVersions() throws {
        let text = try #require(AttachText(Self.export(socket: "/s"))).result(.qemu).text
        #expect(text.contains("reconnect=1") && text.contains("reconnect-ms=100"))
        // What a shell joins again: every line of a block but its last ends in a backslash.
        for block in text.split(separator: "\n\n") {
            let lines = block.split(separator: "\n").filter { !$0.hasPrefix("#") }
            #expect(lines.dropLast().allSatisfy { $0.hasSuffix(" \\") } && lines.last?.hasSuffix("\\") == false)
        }
    }

    @Test func queueSizeThatQEMUTakes() throws {
        let result = try #require(AttachText(Self.export(socket: "/s", queueSize: 32768))).result(.qemu)
        #expect(result.arguments.contains { $0.contains("queue-size=1024") })
    }

    @Test func shellWordsAreQuoted() throws {
        let text = try #require(AttachText(Self.export(socket: "/it's here"))).result(.qemu, qemuVersion: QEMUVersion(parsing: "10")).text
        #expect(text.contains(#"'socket,id=vhublk-db0,path=/it'\''s here,reconnect-ms=100'"#))
    }

    @Test func libvirt() throws {
        let text = try #require(AttachText(Self.export(socket: "/a&b'/<s"))).result(.libvirt).text
        #expect(text.contains("<disk type='vhostuser' device='disk'>"))
        #expect(text.contains("<source type='unix' path='/a&amp;b&apos;/&lt;s'>"))
        #expect(text.contains("queues='4'") && text.contains("<access mode='shared'/>"))
        for element in ["memoryBacking", "devices", "disk", "source type='unix' path='/a&amp;b&apos;/&lt;s'"] {
            let name = element.split(separator: " ")[0]
            #expect(text.contains("<\(element)") && text.contains("</\(name)>"))
        }
        // Elements that libvirt refuses on such a disk.
        for refused in ["<serial", "<readonly", "<iotune", "discard="] { #expect(!text.contains(refused)) }
    }

    @Test func cloudHypervisor() throws {
        let result = try #require(AttachText(Self.export(socket: "/s", queueSize: 128))).result(.cloudHypervisor)
        #expect(
            result.arguments == [
                "--memory", "size=4G,shared=on", "--disk", "vhost_user=true,socket=/s,num_queues=4,queue_size=128",
            ])
    }

    @Test func nothingToPointAt() {
        #expect(AttachText(Self.export(socket: nil)) == nil)
    }
}
