import Glibc

/// The size of a page of memory in bytes.
public enum PageSize {
    /// The base page size, a power of two.
    public static let bytes = Int(sysconf(Int32(_SC_PAGESIZE)))
}
