"""Where the programs are that the benchmarks run."""

import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINKS = ROOT / ".build" / "testbed"
PRODUCTS = LINKS / "products"
RESULTS = ROOT / "bench" / "results"


class Missing(Exception):
    """A program or a right that a benchmark needs is not there; the text says what to do."""


def product(name: str) -> str:
    path = PRODUCTS / name
    if not path.exists():
        raise Missing(f"{name} is not built; `make bench` builds it")
    return str(path)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is missing; `make bench` installs it")
    return path


def blkio_bench() -> str:
    path = LINKS / "debian13" / "bin" / "blkio-bench"
    if not path.exists():
        raise Missing("blkio-bench is missing; `make testbed` fetches it")
    return str(path)


def environment() -> dict[str, str]:
    """The environment of every program that is measured: a crash of one must not spend minutes in a backtrace."""
    return {**os.environ, "SWIFT_BACKTRACE": "enable=no", "LC_ALL": "C"}
