"""From rounds to figures: medians, and medians of pairs."""

import dataclasses
import statistics

from .clients import Sample
from .work import Work

#: A round in which its server was kept from its CPU for more than this is void.
WAITED_MAX = 0.04


@dataclasses.dataclass
class Row:
    """The rounds of all servers for one work on one medium. Round N of all servers was made in the same few seconds."""

    medium: str
    work: Work
    rounds: dict[str, list[Sample]] = dataclasses.field(default_factory=dict)

    def add(self, server: str, sample: Sample) -> None:
        self.rounds.setdefault(server, []).append(sample)

    def valid(self, server: str) -> list[Sample]:
        return [sample for sample in self.rounds[server] if sample.waited <= WAITED_MAX]

    def is_void(self, server: str) -> bool:
        """Fewer than half of its rounds are valid: the figure is shown, and marked."""
        return 2 * len(self.valid(server)) < len(self.rounds[server])

    def _samples(self, server: str) -> list[Sample]:
        return self.rounds[server] if self.is_void(server) else self.valid(server)

    def median(self, server: str, value) -> float:
        return statistics.median(value(sample) for sample in self._samples(server))

    def iops(self, server: str) -> float:
        return self.median(server, lambda sample: sample.iops)

    def _pairs(self, server: str, references: list[str]) -> list[tuple[Sample, list[Sample]]]:
        """This server's sample and the references' of each round in which none of them was kept from its CPU; of all rounds where fewer than
        half are such."""
        present = [name for name in references if name in self.rounds and name != server]
        if not present:
            return []
        pairs = [(own, others) for own, *others in zip(self.rounds[server], *(self.rounds[name] for name in present), strict=False)]
        valid = [(own, others) for own, others in pairs if max(sample.waited for sample in (own, *others)) <= WAITED_MAX]
        return valid if 2 * len(valid) >= len(pairs) else pairs

    def ratio(self, server: str, references: list[str]) -> float | None:
        """The median over rounds of this server's IOPS by the best reference's of the same round."""
        ratios = [own.iops / max(other.iops for other in others) for own, others in self._pairs(server, references)]
        return statistics.median(ratios) if ratios else None

    def cost_ratio(self, server: str, references: list[str], cost: str) -> float | None:
        """As `ratio`, of a member of Sample of which less is better: to the lowest reference of each round."""
        lowest = [(getattr(own, cost), min(getattr(other, cost) for other in others)) for own, others in self._pairs(server, references)]
        ratios = [own / least for own, least in lowest if least > 0]
        return statistics.median(ratios) if ratios else None
