import Foundation
import Testing

extension Integration {
    /// A guest with two NUMA nodes, in which vhublkd and vhublk-bench run: queues go where the front-end's memory is, and pollers keep their own memory near.
    @Suite struct NUMATests {
        static let twoNodes = [
            "-object", "memory-backend-memfd,id=mem0,size=384M,share=on", "-object", "memory-backend-memfd,id=mem1,size=384M,share=on",
            "-numa", "node,nodeid=0,cpus=0-1,memdev=mem0", "-numa", "node,nodeid=1,cpus=2-3,memdev=mem1", "-numa",
            "dist,src=0,dst=1,val=20",
        ]

        /// What `poller list --json` tells; only what is looked at.
        struct PollerList: Decodable {
            struct Poller: Decodable {
                struct Queue: Decodable {
                    var export: String
                    var crossesNodes: [String]
                }
                var cpu: Int
                var node: Int
                var queues: [Queue]
            }
            var pollers: [Poller]

            init(json: String) throws {
                let decoder = JSONDecoder()
                decoder.keyDecodingStrategy = .convertFromSnakeCase
                self = try decoder.decode(PollerList.self, from: Data(json.utf8))
            }
        }

        @Test(.timeLimit(.minutes(5))) func queuesRunOnTheNodeOfTheGuestsMemory() async throws {
            try await Places.withFolder { folder in
                let overlay = folder + "/overlay"
                try await Program.succeed(
                    Places.scripts + "/overlay.sh", [overlay] + ["vhublkd", "vhublkctl", "vhublk-bench"].map(Places.product))
                let configuration = Guest.Configuration(
                    qemu: .debian12, memory: 768, extraRamdisks: [overlay], ownMemoryArguments: Self.twoNodes)
                try await Guest.with(configuration) { guest in
                    #expect(try await guest.succeed("cat /sys/devices/system/node/online") == "0-1")
                    try await guest.succeed(
                        "vhublkd --control /run/control.sock --state-dir /run/state >/tmp/vhublkd.log 2>&1 & echo $! >/tmp/pid")
                    try await guest.succeed(
                        "n=0; until [ -S /run/control.sock ]; do sleep 0.1; n=$((n+1)); [ $n -lt 300 ] || { cat /tmp/vhublkd.log; exit 1; }; done"
                    )
                    for node in [0, 1] { try await Self.check(node, guest) }
                    try await Self.checkByHand(guest)
                }
            }
        }

        /// A front-end that lives on one node gets pollers of that node.
        static func check(_ node: Int, _ guest: Guest) async throws {
            let name = "disk\(node)"
            let control = "vhublkctl --control /run/control.sock"
            try await guest.succeed("\(control) export create \(name) --backing null:256M --socket /run/\(name).sock --queues 2")
            // Its memory is of the node on which it runs, as the kernel's default policy has it.
            let mask = node == 0 ? "3" : "c"
            try await guest.start(
                name,
                "taskset \(mask) vhublk-bench --socket /run/\(name).sock --eta=never --rw=randread --iodepth=4 --numjobs=2 --time_based --runtime=12 --wait=sleep"
            )
            try await guest.succeed("sleep 4")

            let output = try await guest.succeed("\(control) --json poller list")
            let list = try PollerList(json: output)
            let pollers = list.pollers.filter { poller in poller.queues.contains { $0.export == name } }
            #expect(Set(pollers.map(\.cpu)) == (node == 0 ? [0, 1] : [2, 3]), "each queue on a processor of node \(node): \(output)")
            #expect(pollers.allSatisfy { $0.node == node }, "\(output)")
            #expect(pollers.flatMap(\.queues).allSatisfy { $0.crossesNodes.isEmpty }, "\(output)")

            // The threads' own affinity, not what the daemon says of it.
            for poller in pollers {
                let affinity = try await guest.succeed(
                    "for t in /proc/$(cat /tmp/pid)/task/*; do [ \"$(cat $t/comm 2>/dev/null)\" = poller-\(poller.cpu) ] && awk '/Cpus_allowed_list/ {print $2}' $t/status; done; true"
                )
                #expect(affinity == "\(poller.cpu)")
            }
            // The pollers' memory prefers the node, and its pages lie there.
            let maps = try await guest.succeed("grep prefer.*:\(node) /proc/$(cat /tmp/pid)/numa_maps")
            let pages = maps.split(whereSeparator: \.isWhitespace)
            #expect(pages.contains { $0.hasPrefix("N\(node)=") }, "\(maps)")
            #expect(!pages.contains { $0.hasPrefix("N\(1 - node)=") }, "\(maps)")
            try await guest.finish(name, limit: .seconds(60))
        }

        /// `--cpus` is obeyed, and what then crosses nodes is told.
        static func checkByHand(_ guest: Guest) async throws {
            let control = "vhublkctl --control /run/control.sock"
            try await guest.succeed("\(control) export create byhand --backing null:256M --socket /run/byhand.sock --queues 1 --cpus 3")
            try await guest.start(
                "byhand",
                "taskset 3 vhublk-bench --socket /run/byhand.sock --eta=never --rw=randread --iodepth=4 --time_based --runtime=8 --wait=sleep"
            )
            try await guest.succeed("sleep 3")
            let output = try await guest.succeed("\(control) --json poller list")
            let list = try PollerList(json: output)
            let poller = list.pollers.first { poller in poller.queues.contains { $0.export == "byhand" } }
            #expect(poller?.cpu == 3, "\(output)")
            #expect(poller?.queues.first { $0.export == "byhand" }?.crossesNodes == ["memory"], "\(output)")
            try await guest.finish("byhand", limit: .seconds(60))
        }
    }
}
