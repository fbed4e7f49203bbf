"""From rounds to figures and texts."""

import dataclasses
import unittest

from lib import goals, report
from lib.clients import Sample
from lib.figures import Row
from lib.work import PACED, STREAMS, TABLE, Work, scaling


def sample(iops: float, waited: float = 0.0) -> Sample:
    return Sample(iops, iops * 4096, {"50": 900.0, "99": 2_500.0, "99.9": 3e6}, 1000, cpu=250, cores=1.0, waited=waited)


def row(rounds: dict[str, list[Sample]], work: Work = TABLE[0]) -> Row:
    result = Row("null", work)
    for name, samples in rounds.items():
        for one in samples:
            result.add(name, one)
    return result


class Figures(unittest.TestCase):
    def test_a_figure_is_the_median_of_the_valid_rounds(self):
        figures = row({"a": [sample(100), sample(300), sample(200), sample(9000, waited=0.2)]})
        self.assertEqual(figures.iops("a"), 200)
        self.assertFalse(figures.is_void("a"))

    def test_a_row_whose_server_was_kept_from_its_cpu_is_void(self):
        figures = row({"a": [sample(100, 0.05), sample(300, 0.05), sample(200)]})
        self.assertTrue(figures.is_void("a"))
        self.assertEqual(figures.iops("a"), 200)
        self.assertIn("void", report.table([figures], []))

    def test_a_ratio_is_the_median_of_the_pairs_with_the_better_reference_of_each_round(self):
        figures = row(
            {
                "vhublkd": [sample(200), sample(100), sample(900)],
                "qsd-libaio": [sample(100), sample(20), sample(100)],
                "qsd-io_uring": [sample(50), sample(50), sample(300)],
            }
        )
        # 200/100, 100/50, 900/300.
        self.assertEqual(figures.ratio("vhublkd", ["qsd-libaio", "qsd-io_uring"]), 2)
        self.assertIsNone(figures.ratio("vhublkd", ["spdk"]))

    def test_a_pair_with_a_void_round_does_not_count_unless_most_are_such(self):
        figures = row({"vhublkd": [sample(200), sample(200), sample(900)], "qsd": [sample(100), sample(100), sample(100, 0.2)]})
        self.assertEqual(figures.ratio("vhublkd", ["qsd"]), 2)
        figures = row({"vhublkd": [sample(900), sample(200, 0.2), sample(300)], "qsd": [sample(100), sample(100), sample(100, 0.2)]})
        self.assertEqual(figures.ratio("vhublkd", ["qsd"]), 3)

    def test_goals_are_told_beside_what_was_measured(self):
        reached = row({"vhublkd": [sample(300)] * 3, "qsd": [sample(100)] * 3})
        missed = row({"vhublkd": [sample(899)], "qsd": [sample(100)]}, TABLE[1])
        lines = goals.table([reached, missed]).splitlines()
        self.assertEqual(lines[2:], [
            f"| null | {TABLE[0].title}, to qemu-storage-daemon | 3.00 | at least 2.9 | reached |",
            f"| null | {TABLE[1].title}, to qemu-storage-daemon | 8.99 | at least 9 | missed |",
        ])  # fmt: skip

    def test_a_cost_is_compared_with_the_lowest_of_each_round(self):
        cheap, dear = (dataclasses.replace(sample(1), cpu=cpu, waited=waited) for cpu, waited in ((100, 0), (300, 0.2)))
        paced = row({"vhublkd": [dear, dear], "qsd-libaio": [cheap, dear], "qsd-io_uring": [dear, dear]}, PACED)
        self.assertEqual(paced.cost_ratio("vhublkd", ["qsd-libaio", "qsd-io_uring"], "cpu"), 2)
        self.assertIsNone(paced.cost_ratio("vhublkd", ["qsd"], "cpu"))
        lines = goals.table([paced]).splitlines()
        self.assertIn("| 2.00 | at most 1 | missed, void |", lines[2])

    def test_texts(self):
        self.assertEqual([report.count(value) for value in (7, 1234, 99_500, 1_234_567)], ["7", "1.2 k", "100 k", "1235 k"])
        self.assertEqual([report.time(value) for value in (850, 1500, 2.5e6)], ["850 ns", "1.5 µs", "2.5 ms"])
        self.assertEqual(Work(depth=1, queues=2).title, "4 KiB random read, depth 1, 2 queues, client polls")
        self.assertEqual(STREAMS[1].title, "1 MiB sequential write, depth 8, client polls")

    def test_the_table_has_a_column_for_each_server_and_a_dash_where_it_was_not_measured(self):
        first = row({"vhublkd": [sample(2000)], "qsd": [sample(1000)]})
        second = row({"vhublkd": [sample(2000)]}, TABLE[1])
        lines = report.table([first, second], ["qsd"]).splitlines()
        self.assertEqual(lines[0], "| work | vhublkd | qsd |")
        self.assertEqual(lines[2], f"| {TABLE[0].title} | 2.0 k (2.00x) | 1.0 k |")
        self.assertEqual(lines[3], f"| {TABLE[1].title} | 2.0 k | - |")

    def test_the_document_holds_every_round(self):
        document = report.document([row({"vhublkd": [sample(1), sample(2)]})], {}, [])
        figures = document["rows"][0]["servers"]["vhublkd"]
        self.assertEqual([one["iops"] for one in figures["rounds"]], [1, 2])
        self.assertEqual(figures["rounds"][0], dataclasses.asdict(sample(1)))

    def test_queues_double(self):
        self.assertEqual([item.queues for item in scaling(8)], [1, 2, 4, 8])
        self.assertEqual([item.queues for item in scaling(3)], [1, 2])
        self.assertEqual(scaling(1), [])


if __name__ == "__main__":
    unittest.main()
