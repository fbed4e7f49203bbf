"""Plots of a run, as SVG."""

import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402 (the back end is chosen first)

from .figures import Row  # noqa: E402


def _finish(figure, axes, folder: pathlib.Path, name: str, title: str, x: str, y: str) -> pathlib.Path:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(True, alpha=0.3)
    axes.set_ylim(bottom=0)
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend()
    path = folder / f"{name}.svg"
    figure.tight_layout()
    figure.savefig(path)
    plot.close(figure)
    return path


def _file_name(medium: str) -> str:
    return medium.strip("/").replace("/", "-") or "root"


def _lines(rows: list[Row], folder: pathlib.Path, name: str, title: str, x_of, x: str) -> pathlib.Path:
    figure, axes = plot.subplots(figsize=(7, 4.5))
    for server in dict.fromkeys(server for row in rows for server in row.rounds):
        points = sorted((x_of(row.work), row.iops(server) / 1000) for row in rows if server in row.rounds)
        axes.plot(*zip(*points, strict=True), marker="o", label=server)
    axes.set_xscale("log", base=2)
    ticks = sorted({x_of(row.work) for row in rows})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    return _finish(figure, axes, folder, name, title, x, "thousand IOPS")


def depth(rows: list[Row], folder: pathlib.Path, medium: str) -> pathlib.Path:
    return _lines(rows, folder, f"depth-{_file_name(medium)}", f"4 KiB random reads, {medium}", lambda work: work.depth, "requests in flight")


def queues(rows: list[Row], folder: pathlib.Path, medium: str) -> pathlib.Path:
    return _lines(rows, folder, f"queues-{_file_name(medium)}", f"4 KiB random reads, depth 32, {medium}", lambda work: work.queues, "queues")


def latency(rows: list[Row], folder: pathlib.Path, medium: str) -> pathlib.Path:
    """Percentiles of each server at depth 1, the client polling."""
    figure, axes = plot.subplots(figsize=(7, 4.5))
    for row in rows:
        for server, samples in row.rounds.items():
            names = sorted((name for name in samples[0].latency), key=float)
            if not names:
                continue
            values = [row.median(server, lambda sample, n=name: sample.latency[n]) / 1000 for name in names]
            axes.plot(names, values, marker="o", label=server)
    axes.set_yscale("log")
    path = folder / f"latency-{_file_name(medium)}.svg"
    axes.set(title=f"4 KiB random reads, depth 1, {medium}", xlabel="percentile", ylabel="microseconds")
    axes.grid(True, which="both", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    plot.close(figure)
    return path


def cpu(rows: list[Row], folder: pathlib.Path, medium: str) -> pathlib.Path:
    """CPU time per request of each server, for each row."""
    figure, axes = plot.subplots(figsize=(9, 4.5))
    servers = [name for name in dict.fromkeys(name for row in rows for name in row.rounds) if rows[0].rounds[name][0].cores > 0]
    width = 0.8 / max(1, len(servers))
    for index, server in enumerate(servers):
        places = [number + index * width for number, row in enumerate(rows) if server in row.rounds]
        axes.bar(places, [row.median(server, lambda sample: sample.cpu) / 1000 for row in rows if server in row.rounds], width, label=server)
    axes.set_xticks([number + 0.4 - width / 2 for number in range(len(rows))], [row.work.title.replace(", ", "\n", 1) for row in rows], fontsize=7)
    return _finish(figure, axes, folder, f"cpu-{_file_name(medium)}", f"The server's CPU time per request, {medium}", "", "microseconds")
