"""What vhublkd must reach beside the others, row by row, and whether a run shows it."""

import dataclasses

from .figures import Row
from .work import PACED, STREAMS, Work

#: The media of the goals; a folder stands for the file system on a real disk.
MEDIA = ("null", "tmpfs", "zram")

OTHERS = {
    "qemu-storage-daemon": ("qsd-libaio", "qsd-io_uring", "qsd"),
    "fio": ("fio-libaio", "fio-io_uring"),
    "its own engines": ("vhublkd-libaio", "vhublkd-io_uring"),
}


@dataclasses.dataclass(frozen=True)
class Goal:
    """A ratio of vhublkd to the best of some others in one row. What counts is IOPS unless it is told otherwise."""

    work: Work
    others: str
    ratio: float
    #: A member of Sample of which less is better; None: IOPS, of which more is.
    cost: str | None = None

    def measured(self, row: Row) -> float | None:
        names = list(OTHERS[self.others])
        return row.cost_ratio("vhublkd", names, self.cost) if self.cost else row.ratio("vhublkd", names)

    def is_reached(self, ratio: float) -> bool:
        return ratio <= self.ratio if self.cost else ratio >= self.ratio

    @property
    def title(self) -> str:
        words = {None: "", "cpu": ", CPU time", "mean": ", mean latency"}[self.cost]
        return f"{self.work.title}{words}, to {self.others}"


_READ, _WRITE, _SINGLE = Work(), Work(rw="randwrite"), Work(depth=1)
_PACED = [Goal(PACED, "qemu-storage-daemon", 1, cost) for cost in ("cpu", "mean")]
_STREAMS = [Goal(work, "fio", 0.95) for work in STREAMS]
_ENGINES = [Goal(_READ, "its own engines", 0.95)]

_GOALS = {
    "null": [
        Goal(_READ, "qemu-storage-daemon", 2.9),
        Goal(Work(wait="sleep"), "qemu-storage-daemon", 9),
        Goal(_SINGLE, "qemu-storage-daemon", 7),
        *_PACED,
    ],
    "tmpfs": [
        Goal(_READ, "qemu-storage-daemon", 1.8),
        Goal(_WRITE, "qemu-storage-daemon", 1.8),
        Goal(_SINGLE, "qemu-storage-daemon", 2.5),
        *_ENGINES,
        *_STREAMS,
        *_PACED,
    ],
    "zram": [Goal(_READ, "qemu-storage-daemon", 1.5), *_ENGINES, *_STREAMS],
}
_DISK = [Goal(_READ, "qemu-storage-daemon", 1), Goal(_READ, "fio", 0.95), *_ENGINES, *_STREAMS]


def of(medium: str) -> list[Goal]:
    """The goals of a medium: those of a disk for a folder and for anything else."""
    return _GOALS.get(medium, _DISK)


def works(medium: str) -> list[Work]:
    """The rows that the goals of a medium need, each once."""
    return list(dict.fromkeys(goal.work for goal in of(medium)))


def table(rows: list[Row]) -> str:
    """Every goal of every row: the ratio, the goal, and whether it is reached."""
    lines = ["| medium | work | ratio | goal | |", "|---|---|---|---|---|"]
    for row in rows:
        for goal in of(row.medium):
            if goal.work != row.work:
                continue
            ratio = goal.measured(row)
            if ratio is None:
                continue
            verdict = "reached" if goal.is_reached(ratio) else "missed"
            if any(row.is_void(name) for name in ("vhublkd", *OTHERS[goal.others]) if name in row.rounds):
                verdict += ", void"
            bound = "at most" if goal.cost else "at least"
            lines.append(f"| {row.medium} | {goal.title} | {ratio:.2f} | {bound} {goal.ratio:g} | {verdict} |")
    return "\n".join(lines)
