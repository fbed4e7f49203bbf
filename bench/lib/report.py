"""What is left of a run: JSON for programs, Markdown for people."""

import dataclasses
import json
import pathlib
import platform

from .figures import WAITED_MAX, Row


def machine() -> dict[str, str]:
    model = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cpus = pathlib.Path("/sys/devices/system/cpu/online").read_text().strip()
    return {"processor": model, "cpus": cpus, "kernel": platform.release()}


def count(value: float) -> str:
    """1234567 as 1235 k: three or four digits that can be compared at a glance."""
    if value >= 99_500:
        return f"{value / 1000:.0f} k"
    return f"{value / 1000:.1f} k" if value >= 1000 else f"{value:.0f}"


def time(nanoseconds: float) -> str:
    if nanoseconds >= 1e6:
        return f"{nanoseconds / 1e6:.1f} ms"
    return f"{nanoseconds / 1e3:.1f} µs" if nanoseconds >= 1e3 else f"{nanoseconds:.0f} ns"


def cell(row: Row, server: str, references: list[str]) -> str:
    text = count(row.iops(server))
    if row.work.block >= 1 << 20:
        text = f"{row.median(server, lambda sample: sample.bytes_per_second) / 1e6:.0f} MB/s"
    ratio = row.ratio(server, references)
    if ratio is not None and server not in references:
        text += f" ({ratio:.2f}x)"
    return f"{text} void" if row.is_void(server) else text


def table(rows: list[Row], references: list[str]) -> str:
    """IOPS (bandwidth where requests are large) of every server for every row of one medium."""
    servers = list(dict.fromkeys(name for row in rows for name in row.rounds))
    lines = ["| work | " + " | ".join(servers) + " |", "|---" * (len(servers) + 1) + "|"]
    for row in rows:
        cells = [cell(row, name, references) if name in row.rounds else "-" for name in servers]
        lines.append(f"| {row.work.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def costs(rows: list[Row]) -> str:
    """Latency and the server's CPU time per request."""
    lines = ["| work | server | p50 | p99 | p99.9 | CPU per request | CPUs |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        for name in row.rounds:
            if not row.rounds[name][0].latency:
                continue
            times = [time(row.median(name, lambda sample, p=p: sample.latency.get(p, 0.0))) for p in ("50", "99", "99.9")]
            cpu, cores = row.median(name, lambda sample: sample.cpu), row.median(name, lambda sample: sample.cores)
            own = [time(cpu), f"{cores:.2f}"] if cores else ["-", "-"]
            lines.append(f"| {row.work.title} | {name} | " + " | ".join(times + own) + " |")
    return "\n".join(lines)


def markdown(rows: list[Row], settings: dict, references: list[str]) -> str:
    facts = machine()
    text = [
        "# vhublkd beside other servers",
        "",
        f"{facts['processor']}, CPUs {facts['cpus']}, Linux {facts['kernel']}; server on CPU {settings['server_cpus']}, client"
        f" ({settings['client']}) on CPU {settings['client_cpus']}; medians of {settings['rounds']} rounds of {settings['seconds']} s,"
        " interleaved. In brackets: the median, over rounds, of the ratio to the best of "
        + (", ".join(references) or "no reference")
        + f". `void`: the server was kept from its CPU for more than {WAITED_MAX:.0%} of most rounds.",
    ]
    for medium in dict.fromkeys(row.medium for row in rows):
        own = [row for row in rows if row.medium == medium]
        text += ["", f"## {medium}", "", table(own, references), "", costs(own)]
    return "\n".join(text) + "\n"


def document(rows: list[Row], settings: dict, references: list[str]) -> dict:
    return {
        "machine": machine(),
        "settings": settings,
        "rows": [
            {
                "medium": row.medium,
                "work": dataclasses.asdict(row.work),
                "title": row.work.title,
                "servers": {
                    name: {
                        "iops": row.iops(name),
                        "ratio": row.ratio(name, references),
                        "void": row.is_void(name),
                        "rounds": [dataclasses.asdict(sample) for sample in samples],
                    }
                    for name, samples in row.rounds.items()
                },
            }
            for row in rows
        ],
    }


def write(folder: pathlib.Path, rows: list[Row], settings: dict, references: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").write_text(json.dumps(document(rows, settings, references), indent=1) + "\n")
    (folder / "compare.md").write_text(markdown(rows, settings, references))
