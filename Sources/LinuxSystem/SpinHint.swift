import CLinux

/// Spinning that leaves the core's other hardware thread some of it.
public enum SpinHint {
    /// Tells the processor that the calling thread spins.
    public static func pause() { clinux_cpu_relax() }
}
