#!/usr/bin/python3
"""Measures vhublkd beside qemu-storage-daemon, other servers, and fio on the bare file.

All servers of a medium are started, held (SIGSTOP), and let go one at a time for a second; each round has all of them, in an order of its
own, so that a change of the machine's speed meets all of them. Medians are printed, and written with every round to bench/results:
compare.json, compare.md and plots (SVG)."""

import argparse
import collections
import collections.abc
import functools
import pathlib
import random
import sys
import tempfile
import time

from lib import clients, figures, goals, media, places, report, servers, work

ENGINES = {"libaio": "native", "io_uring": "io_uring"}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("media", nargs="*", metavar="MEDIUM",
        help="null, tmpfs, zram, loop, or a folder (default: null tmpfs; with --goals: null tmpfs zram /var/tmp)")  # fmt: skip
    add("--rounds", type=int, default=5, help="rounds of each server in each row (default: %(default)s)")
    add("--seconds", type=float, default=1.0, help="length of a round (default: %(default)s)")
    add("--server-cpus", default="1", help="CPUs of the servers, as 1 or 2-3 (default: %(default)s)")
    add("--client-cpus", default="0", help="CPUs of the client (default: %(default)s)")
    add("--client", choices=clients.CLIENTS, default="vhublk-bench", help="who asks (default: %(default)s)")
    add("--poll", choices=["busy", "adaptive", "interrupt"], default="adaptive", help="how vhublkd waits (default: %(default)s)")
    add("--queues", type=int, default=1, help="also measure 2, 4, ... up to this many queues; wants as many CPUs on both sides")
    add("--rows", default="table", help="what to measure: table, streams, depths, paced, separated by commas, or all (default: %(default)s)")
    add("--goals", action="store_true", help="measure the rows that have a goal, and print each beside its goal")
    add("--peer", action="append", default=[], metavar="NAME=COMMAND",
        help="another server; its command holds {socket} and {backing}, and serves vhost-user-blk at the socket")  # fmt: skip
    add("--no-plots", action="store_true", help="write no plots (they need python3-matplotlib)")
    add("--output", type=pathlib.Path, default=places.RESULTS, help="folder of the results (default: bench/results)")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.seconds <= 0 or chosen.queues < 1:
        parser.error("--rounds, --seconds and --queues must be positive")
    chosen.media = chosen.media or ([*goals.MEDIA, "/var/tmp"] if chosen.goals else ["null", "tmpfs"])
    known = {"table", "streams", "depths", "paced"}
    chosen.rows = known if chosen.rows == "all" else set(chosen.rows.split(","))
    if chosen.rows - known:
        parser.error(f"--rows: {', '.join(sorted(chosen.rows - known))}: want some of {', '.join(sorted(known))}")
    for peer in chosen.peer:
        if "=" not in peer or "{socket}" not in peer:
            parser.error(f"--peer {peer}: want NAME=COMMAND with {{socket}} in the command")
    return chosen


class Progress:
    """One line on a terminal, rewritten; nothing elsewhere."""

    def __init__(self, total: int):
        self.total, self.done, self.begin = total, 0, time.monotonic()

    def step(self, text: str) -> None:
        self.done += 1
        if not sys.stderr.isatty():
            return
        left = (time.monotonic() - self.begin) / self.done * (self.total - self.done)
        print(f"\r\x1b[K[{self.done}/{self.total}, {left:.0f} s left] {text}"[:110], end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def start(medium: media.Medium, chosen: argparse.Namespace, folder: pathlib.Path, running: list[servers.Server]) -> None:
    """Starts every server for a medium, held; `running` has those that must be stopped, also when one fails."""

    def serve(name: str, command) -> None:
        socket = folder / f"{name}.sock"
        socket.unlink(missing_ok=True)
        running.append(servers.Server(name, socket, command(socket, medium.backing(name)), chosen.server_cpus, folder / f"{name}.log"))

    def own(engine: str):
        return lambda socket, backing: servers.vhublkd(socket, backing, chosen.server_cpus, chosen.queues, engine, chosen.poll)

    if medium.has_files:
        serve("vhublkd", own("auto"))
        for engine, aio in ENGINES.items():
            serve(f"vhublkd-{engine}", own(engine))
            serve(f"qsd-{engine}", lambda socket, backing, aio=aio: servers.storage_daemon(socket, backing, chosen.queues, aio))
    else:
        serve("vhublkd", own("auto"))
        serve("qsd", lambda socket, backing: servers.storage_daemon(socket, backing, chosen.queues, "threads"))
    for peer in chosen.peer:
        name, _, command = peer.partition("=")
        serve(name, lambda socket, backing, command=command: servers.peer(command, socket, backing))


def rows_of(medium: media.Medium, chosen: argparse.Namespace) -> list[work.Work]:
    if chosen.goals:
        return goals.works(medium.name)
    wanted = []
    if "table" in chosen.rows:
        wanted += [row for row in work.TABLE if medium.has_files or row.rw.endswith("read")]
    if "streams" in chosen.rows and medium.has_files:
        wanted += work.STREAMS
    if "depths" in chosen.rows:
        wanted += work.DEPTHS
    if "paced" in chosen.rows:
        wanted.append(work.PACED)
    return list(dict.fromkeys(wanted + work.scaling(chosen.queues)))


def turns_of(
    row: figures.Row, running: list[servers.Server], bare: str | None, chosen: argparse.Namespace
) -> list[tuple[str, collections.abc.Callable[[], clients.Sample]]]:
    """Who is measured in a round of a row, and how."""
    turns = []
    for server in running:
        turns.append((server.name, functools.partial(clients.measured, server, row.work, chosen.seconds, chosen.client_cpus, chosen.client)))
    # fio polls or sleeps as its engine does: one figure for both kinds of client, and none for a paced one.
    if bare and row.work.wait == "poll":
        for engine in ENGINES:
            turns.append((f"fio-{engine}", functools.partial(clients.fio, bare, engine, row.work, chosen.seconds, chosen.server_cpus)))
    return turns


def measure(medium: media.Medium, chosen: argparse.Namespace, rows: list[figures.Row], progress: Progress) -> None:
    running: list[servers.Server] = []
    with tempfile.TemporaryDirectory(prefix="vhublk-bench-") as folder:
        try:
            start(medium, chosen, pathlib.Path(folder), running)
            bare = medium.backing("fio") if medium.has_files else None
            for row in rows:
                # Who follows whom differs from round to round: a disk that is allowed so many bytes a second has some left after a pause.
                turns = turns_of(row, running, bare, chosen)
                for number in range(chosen.rounds):
                    for name, turn in turns:
                        row.add(name, turn())
                        progress.step(f"{medium.name}: {row.work.title}: round {number + 1}, {name}")
                    random.Random(number).shuffle(turns)
        finally:
            for server in running:
                server.stop()
            medium.close()


def draw(rows: list[figures.Row], folder: pathlib.Path) -> list[pathlib.Path]:
    from lib import plots  # matplotlib is wanted only here

    drawn = []
    by_medium = collections.defaultdict(list)
    for row in rows:
        by_medium[row.medium].append(row)
    for name, own in by_medium.items():
        reads = [row for row in own if row.work.rw == "randread" and row.work.wait == "poll" and row.work.block == 4096]
        depths = [row for row in reads if row.work.queues == 1]
        if len({row.work.depth for row in depths}) > 2:
            drawn.append(plots.depth(depths, folder, name))
        single = [row for row in depths if row.work.depth == 1]
        if any(sample.latency for row in single for samples in row.rounds.values() for sample in samples):
            drawn.append(plots.latency(single, folder, name))
        scaling = [row for row in reads if row.work.depth == 32]
        if len({row.work.queues for row in scaling}) > 1:
            drawn.append(plots.queues(scaling, folder, name))
        drawn.append(plots.cpu([row for row in own if row.work in work.TABLE] or own, folder, name))
    return drawn


def main() -> None:
    chosen = arguments()
    names = list(dict.fromkeys(chosen.media))
    rows: list[figures.Row] = []
    planned = [(name, [figures.Row(name, item) for item in rows_of(media.Null(name) if name == "null" else media.Medium(name), chosen)])
               for name in names]  # fmt: skip
    per_round = {name: (2 if name == "null" else 5) + len(chosen.peer) for name in names}
    total = sum(
        chosen.rounds * (per_round[name] + (2 if name != "null" and row.work.wait == "poll" else 0)) for name, own in planned for row in own
    )
    progress = Progress(total)
    settings = {
        "rounds": chosen.rounds, "seconds": chosen.seconds, "server_cpus": chosen.server_cpus, "client_cpus": chosen.client_cpus,
        "client": chosen.client, "poll": chosen.poll,
    }  # fmt: skip
    references = [f"qsd-{engine}" for engine in ENGINES] + ["qsd"]
    for name, own in planned:
        measure(media.medium(name), chosen, own, progress)
        rows += own
        progress.clear()
        print(f"\n{name} ({report.machine()['processor']}, medians of {chosen.rounds} rounds, IOPS; in brackets: beside the better qsd)\n")
        print(report.table(own, references))
    report.write(chosen.output, rows, settings, references)
    if chosen.goals:
        verdicts = goals.table(rows)
        (chosen.output / "goals.md").write_text(verdicts + "\n")
        print(f"\nBeside the goals (medians of the ratios within a round; `void`: see compare.md)\n\n{verdicts}")
    print(f"\nwritten: {chosen.output}/compare.json, compare.md", end="")
    drawn = [] if chosen.no_plots else draw(rows, chosen.output)
    print("".join(f", {path.name}" for path in drawn))


if __name__ == "__main__":
    try:
        main()
    except (places.Missing, clients.ClientError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped: nothing was written")
