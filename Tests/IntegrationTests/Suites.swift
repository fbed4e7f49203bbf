import Testing

/// The tests with real peers. One after the other: a guest alone takes both cores of the smallest machine.
@Suite(.serialized) enum Integration {}
