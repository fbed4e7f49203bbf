import CLibNUMA
import CLinux

/// Where memory lies among NUMA nodes, and where it is to lie. On a machine with one node, or where the system calls are not permitted
/// (containers), nothing is known and nothing is bound; that is never an error.
public enum NUMA {
    /// Whether the kernel answers questions about nodes.
    public static let isAvailable: Bool = numa_available() >= 0

    /// The node that holds the page at `address`; nil when the page is not in memory, or nobody says.
    public static func node(of address: UnsafeRawPointer) -> Int? {
        unsafe node(ofRange: address, size: 1)
    }

    /// The node that holds most of a range, judged by pages spread over it; nil when none of them is in memory, or nobody says.
    ///
    /// No page is brought into memory by asking, and a file behind the range that was cut short raises no signal.
    public static func node(ofRange start: UnsafeRawPointer, size: Int, sampleCountMax: Int = 64) -> Int? {
        guard isAvailable, size > 0 else { return nil }
        let pageSize = PageSize.bytes
        let firstPage = UInt(bitPattern: start) & ~UInt(pageSize - 1)
        let pageCount = (Int(UInt(bitPattern: start) - firstPage) + size + pageSize - 1) / pageSize
        let sampleCount = min(pageCount, sampleCountMax)
        var pages: [UnsafeMutableRawPointer?] = unsafe []
        for sample in 0..<sampleCount {
            let index = UInt(pageCount / sampleCount * sample)
            guard let page = unsafe UnsafeMutableRawPointer(bitPattern: firstPage + index * UInt(pageSize)) else { continue }
            // move_pages knows only pages in our own page table, where a page of shared memory need not be yet although it exists.
            if unsafe clinux_is_resident(page, pageSize) == 1, unsafe clinux_populate(page, pageSize) == 0 { unsafe pages.append(page) }
        }
        guard unsafe !pages.isEmpty else { return nil }
        var nodes = [Int32](repeating: -1, count: unsafe pages.count)
        // Without a list of target nodes move_pages moves nothing and tells where each page is (move_pages(2)).
        guard unsafe move_pages(0, UInt(pages.count), &pages, nil, &nodes, 0) >= 0 else { return nil }
        let counts = nodes.filter { $0 >= 0 }.reduce(into: [Int32: Int]()) { $0[$1, default: 0] += 1 }
        return counts.max { ($0.value, $1.key) < ($1.value, $0.key) }.map { Int($0.key) }
    }

    /// Asks that pages of the range come from `node` when they are first touched, from another one if it has none left. Returns whether
    /// the kernel agreed.
    @discardableResult
    public static func prefer(node: Int, forRange start: UnsafeMutableRawPointer, size: Int) -> Bool {
        guard isAvailable, (0..<nodesMax).contains(node) else { return false }
        var mask = mask(node)
        // The kernel reads one bit fewer than maxnode says (mbind(2), bugs), hence the + 1.
        return unsafe mbind(start, UInt(size), MPOL_PREFERRED, &mask, UInt(nodesMax) + 1, 0) == 0
    }

    /// Does something whose memory in the kernel is to come from `node`, as far as the calling thread allocates it; nil leaves that to the kernel.
    public static func preferring<Value, Failure: Error>(_ node: Int?, _ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        guard isAvailable, let node, (0..<nodesMax).contains(node) else { return try body() }
        var before: Int32 = 0
        var nodes = mask(nil)
        // What the thread had is put back afterwards; one that cannot be asked is not changed.
        guard unsafe get_mempolicy(&before, &nodes, UInt(nodesMax), nil, 0) == 0 else { return try body() }
        var wanted = mask(node)
        _ = unsafe set_mempolicy(MPOL_PREFERRED, &wanted, UInt(nodesMax) + 1)
        defer { _ = unsafe set_mempolicy(before, &nodes, UInt(nodesMax) + 1) }
        return try body()
    }

    private static let nodesMax = 1024

    /// A set of one node, or none, as the kernel reads it.
    private static func mask(_ node: Int?) -> [UInt] {
        var mask = [UInt](repeating: 0, count: nodesMax / UInt.bitWidth)
        if let node { mask[node / UInt.bitWidth] = 1 << UInt(node % UInt.bitWidth) }
        return mask
    }
}
