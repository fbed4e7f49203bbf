import Testing

/// The suites that simulate, one after the other: the simulations of a process take turns, and one that waits for its turn would keep a
/// thread from tests that could run.
@Suite(.serialized) enum Simulations {}
