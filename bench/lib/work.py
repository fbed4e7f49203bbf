"""What is asked of a server in one row of the comparison."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Work:
    """One row: what to do, how large, how deep, on how many queues, and how the client waits."""

    rw: str = "randread"
    block: int = 4096
    depth: int = 32
    queues: int = 1
    wait: str = "poll"
    #: Requests a second that each queue asks for at most, or None for as many as it can.
    rate: int | None = None

    @property
    def title(self) -> str:
        words = {"randread": "random read", "randwrite": "random write", "read": "sequential read", "write": "sequential write"}[self.rw]
        size = f"{self.block >> 20} MiB" if self.block >= 1 << 20 else f"{self.block >> 10} KiB"
        text = f"{size} {words}, depth {self.depth}"
        if self.queues > 1:
            text += f", {self.queues} queues"
        if self.rate:
            return f"{text}, {self.rate} a second"
        return f"{text}, client {self.wait}s"


#: The rows of the promise (docs/benchmarks.md).
TABLE = [
    Work(),
    Work(wait="sleep"),
    Work(depth=1),
    Work(depth=1, wait="sleep"),
    Work(rw="randwrite"),
]
#: Large requests are a matter of disks: not for the null medium.
STREAMS = [Work(rw="read", block=1 << 20, depth=8), Work(rw="write", block=1 << 20, depth=8)]
#: How IOPS and latency grow with the depth, for the plots.
DEPTHS = [Work(depth=depth) for depth in (1, 2, 4, 8, 16, 32, 64, 128)]
#: What a quiet guest costs.
PACED = Work(depth=1, wait="sleep", rate=10_000)


def scaling(queues: int) -> list[Work]:
    """One row for each number of queues up to `queues`, doubling."""
    counts = [1 << power for power in range(queues.bit_length()) if 1 << power <= queues]
    return [Work(queues=count) for count in counts] if queues > 1 else []
