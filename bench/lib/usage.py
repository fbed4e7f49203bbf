"""What the kernel knows of the time that a process had and did not have."""

import dataclasses
import pathlib
import time


@dataclasses.dataclass(frozen=True)
class Usage:
    """Nanoseconds since some moment: on a CPU, waiting for a CPU, and of the clock."""

    on_cpu: int
    waiting: int
    clock: int

    def __sub__(self, earlier: "Usage") -> "Usage":
        return Usage(self.on_cpu - earlier.on_cpu, self.waiting - earlier.waiting, self.clock - earlier.clock)

    @property
    def waited_share(self) -> float:
        """The part of the time in which the process was ready to run and had no CPU. Above a few percent a figure says more about the machine's
        other work than about the server."""
        return self.waiting / self.clock if self.clock > 0 else 0.0


def usage(pid: int) -> Usage:
    """Of all threads of a process, those of the kernel's io-wq for it included."""
    on_cpu = waiting = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            fields = (task / "schedstat").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
        on_cpu += int(fields[0])
        waiting += int(fields[1])
    return Usage(on_cpu, waiting, time.monotonic_ns())


def resident_kibibytes(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(f"process {pid} has no VmRSS")
