import Glibc
import LinuxSystem
import TestSupport
import Testing

@Suite("CPUs, nodes and threads")
struct TopologyTests {
    @Test(
        "CPU lists are read and written as Linux does",
        arguments: [("", [Int](), ""), ("0", [0], "0"), ("0-3,8\n", [0, 1, 2, 3, 8], "0-3,8"), ("5,1-2, 3", [1, 2, 3, 5], "1-3,5")])
    func cpuLists(list: String, numbers: [Int], text: String) throws {
        let set = try #require(CPUSet(list: list))
        #expect(set.numbers == numbers)
        #expect(set.description == text)
    }

    @Test("What is no CPU list is none", arguments: ["x", "1-", "-1", "3-1", "1,,2", "1024", "0-9999999", "1-2-3", "0x1"])
    func badCPULists(list: String) {
        #expect(CPUSet(list: list) == nil)
    }

    @Test("Bit masks have CPU n at bit n % 64 of word n / 64")
    func words() {
        let words = CPUSet([0, 63, 64, 130]).words
        #expect(words[0] == 1 << 63 | 1 && words[1] == 1 && words[2] == 4 && words[3] == 0)
    }

    /// Two nodes with hyper-threads, CPU 7 offline, and a third node with memory only.
    private static func twoNodes() -> TemporaryFolder {
        let folder = TemporaryFolder()
        folder.write("devices/system/cpu/online", "0-6\n")
        for cpu in 0...6 {
            let first = cpu / 2 * 2
            folder.write("devices/system/cpu/cpu\(cpu)/topology/thread_siblings_list", cpu == 6 ? "6\n" : "\(first)-\(first + 1)\n")
        }
        folder.write("devices/system/node/online", "0-2\n")
        folder.write("devices/system/node/node0/cpulist", "0-3\n")
        folder.write("devices/system/node/node0/distance", "10 21 17\n")
        folder.write("devices/system/node/node1/cpulist", "4-7\n")
        folder.write("devices/system/node/node1/distance", "21 10 28\n")
        folder.write("devices/system/node/node2/cpulist", "\n")
        folder.write("devices/system/node/node2/distance", "17 28 10\n")
        return folder
    }

    @Test("Nodes, their CPUs, distances and cores come from sysfs")
    func fixture() {
        let folder = Self.twoNodes()
        let topology = Topology(sysfsRoot: folder.path, allowed: nil)
        #expect(topology.cpus.description == "0-6")
        #expect(topology.nodes.map(\.id) == [0, 1, 2])
        #expect(topology.nodes.map(\.cpus.description) == ["0-3", "4-6", ""])
        #expect(topology.node(ofCPU: 5) == 1)
        #expect(topology.node(ofCPU: 7) == nil)
        #expect(topology.distance(from: 0, to: 2) == 17)
        #expect(topology.distance(from: 1, to: 0) == 21)
        #expect(topology.distance(from: 9, to: 0) == 20)
        #expect(topology.siblings(ofCPU: 3).numbers == [2, 3])
        #expect(topology.siblings(ofCPU: 6).numbers == [6])
    }

    @Test("Only CPUs that the process may use appear")
    func affinity() {
        let folder = Self.twoNodes()
        let topology = Topology(sysfsRoot: folder.path, allowed: CPUSet([1, 2, 6, 7]))
        #expect(topology.cpus.numbers == [1, 2, 6])
        #expect(topology.cpus(ofNode: 0).numbers == [1, 2])
        #expect(topology.cpus(ofNode: 1).numbers == [6])
        #expect(topology.cpus(ofNode: 3).isEmpty)
        #expect(topology.siblings(ofCPU: 1).numbers == [1])
    }

    @Test("A system that tells nothing has one node")
    func empty() {
        let folder = TemporaryFolder()
        let topology = Topology(sysfsRoot: folder.path, allowed: CPUSet([0, 3]))
        #expect(topology.nodes == [Topology.Node(id: 0, cpus: CPUSet([0, 3]), distances: [0: 10])])
    }

    @Test("This machine has the CPUs that the process may use, each in a node")
    func thisMachine() throws {
        let topology = Topology()
        let allowed = try #require(CPUSet.ofProcess())
        #expect(!topology.cpus.isEmpty)
        #expect(topology.cpus.subtracting(allowed).isEmpty)
        for cpu in topology.cpus.numbers { #expect(topology.node(ofCPU: cpu) != nil) }
    }

    @Test("A pinned thread runs where it was told to, and nowhere that does not exist")
    func pinnedThread() throws {
        let cpu = try #require(Topology().cpus.numbers.last)
        nonisolated(unsafe) var affinity: CPUSet?
        let thread = try PinnedThread(name: "a name that is too long", cpu: cpu) { unsafe affinity = CPUSet.ofCurrentThread() }
        thread.join()
        #expect(unsafe affinity?.numbers == [cpu])
        #expect(throws: SystemError("start thread x on CPU 1023", errno: EINVAL)) {
            _ = try PinnedThread(name: "x", cpu: 1023) {}
        }
    }

    @Test("The node of memory is that of its pages; memory that nobody touched has none")
    func nodeOfMemory() throws {
        let topology = Topology()
        let mapping = try MemoryMapping(anonymous: 64 * PageSize.bytes, node: topology.nodes[0].id)
        #expect(unsafe NUMA.node(ofRange: mapping.base, size: mapping.size) == nil)
        unsafe mapping.base.storeBytes(of: 1, as: UInt8.self)
        let node = unsafe NUMA.node(of: mapping.base)
        if NUMA.isAvailable {
            #expect(node.map { node in topology.nodes.contains { $0.id == node } } == true)
        } else {
            #expect(node == nil)
        }
    }

    @Test("Shared memory that another mapping filled has a node, and a file cut short raises no signal")
    func nodeOfSharedMemory() throws {
        let size = 16 * PageSize.bytes
        let file = try MemoryFile.create(name: "test", size: UInt64(size))
        let writer = try MemoryMapping(descriptor: file, offset: 0, size: UInt64(size))
        let reader = try MemoryMapping(descriptor: file, offset: 0, size: UInt64(size))
        #expect(unsafe NUMA.node(ofRange: reader.base, size: size) == nil)
        unsafe (writer.base + size / 2).storeBytes(of: 1, as: UInt8.self)
        #expect(unsafe (NUMA.node(ofRange: reader.base, size: size) != nil) == NUMA.isAvailable)
        try file.truncate(to: 0)
        #expect(unsafe NUMA.node(ofRange: reader.base, size: size) == nil)
    }
}
