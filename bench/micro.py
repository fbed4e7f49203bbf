#!/usr/bin/python3
"""Counts the instructions of single steps of a request (bench/micro), by callgrind: exact, and the same however busy the machine is. Prints a
Markdown table, and with --json FILE leaves the figures."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from lib import places

PROGRAM = places.ROOT / ".build" / "micro" / "release" / "micro"
#: Turns of the shorter and of the longer run; the difference is free of what a first turn costs.
TURNS = (200, 1200)


def cases(program: pathlib.Path) -> list[tuple[str, int, str]]:
    """Name, how many are done in a turn, and what it is."""
    lines = subprocess.run([program], check=True, capture_output=True, text=True, env=places.environment()).stdout.splitlines()
    return [(name, int(count), what) for name, count, what in (line.split("\t") for line in lines)]


def instructions(program: pathlib.Path, name: str, turns: int, folder: pathlib.Path) -> int:
    """What the counted functions of a case took in so many turns."""
    output = folder / "counts"
    subprocess.run(
        [places.program("valgrind"), "--tool=callgrind", "--toggle-collect=*counted*", f"--callgrind-out-file={output}", program, name, str(turns)],
        check=True, capture_output=True, env=places.environment(),
    )
    summary = re.search(r"^(?:summary|totals): (\d+)", output.read_text(), re.MULTILINE)
    if summary is None or int(summary[1]) == 0:
        raise places.Missing(f"callgrind counted nothing of {name}")
    return int(summary[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="only these (default: all)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there")
    chosen = parser.parse_args()
    if not PROGRAM.exists():
        raise places.Missing("bench/micro is not built; `make bench-micro` builds it")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="vhublk-micro-") as name:
        folder = pathlib.Path(name)
        # valgrind 3.19 cannot read the debug information that Swift writes.
        program = folder / "micro"
        subprocess.run(["objcopy", "--remove-section=.debug_*", PROGRAM, program], check=True)
        known = cases(program)
        unknown = set(chosen.cases) - {case for case, _, _ in known}
        if unknown:
            raise places.Missing(f"there is no case {', '.join(sorted(unknown))}; known are {', '.join(case for case, _, _ in known)}")
        print("| case | what | instructions |\n|---|---|---|")
        for case, per_turn, what in known:
            if chosen.cases and case not in chosen.cases:
                continue
            short, long = (instructions(program, case, turns, folder) for turns in TURNS)
            figures[case] = round((long - short) / (TURNS[1] - TURNS[0]) / per_turn, 1)
            print(f"| {case} | {what} | {figures[case]:.1f} |", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except places.Missing as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {error}: {(error.stderr or b'')[-500:]!r}")
