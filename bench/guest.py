#!/usr/bin/python3
"""Measures disks as a QEMU guest sees them: fio's job files of bench/fio run in a guest whose disk is served by vhublkd, by
qemu-storage-daemon, or by QEMU's own virtio-blk. The guests boot one after the other, round after round; medians are printed and written to
bench/results/guest.json and guest.md."""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

from lib import places, report, servers

JOBS = sorted((places.ROOT / "bench" / "fio").glob("*.fio"))
MEMORY = "512M"


#: Software emulation unless told otherwise: that /dev/kvm exists does not say that it works.
ACCELERATORS = {"tcg": ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"], "kvm": ["-accel", "kvm", "-cpu", "host"]}


def ramdisk(folder: pathlib.Path, seconds: int) -> pathlib.Path:
    """The guests' RAM disk of the tests, with the job files and what runs them on top."""
    tree = folder / "tree"
    (tree / "run").mkdir(parents=True)
    shutil.copy(places.ROOT / "bench" / "fio" / "in-guest.sh", tree / "run" / "main")
    for job in JOBS:
        shutil.copy(job, tree / "run")
    (tree / "run" / "seconds").write_text(f"{seconds}\n")
    packed = subprocess.run("find . | cpio --create --format=newc --quiet | gzip -1", shell=True, cwd=tree, check=True, capture_output=True)
    result = folder / "ramdisk"
    result.write_bytes((places.LINKS / "ramdisk" / "ramdisk").read_bytes() + packed.stdout)
    return result


def disk_arguments(kind: str, image: pathlib.Path, socket: pathlib.Path, queues: int) -> list[str]:
    if kind.startswith("qemu"):
        aio = "io_uring" if kind.endswith("io_uring") else "native"
        return [
            "-object", "iothread,id=io", "-blockdev", f"driver=file,filename={image},node-name=disk,cache.direct=on,aio={aio}",
            "-device", f"virtio-blk-pci,drive=disk,num-queues={queues},iothread=io",
        ]  # fmt: skip
    return ["-chardev", f"socket,id=c,path={socket}", "-device", f"vhost-user-blk-pci,chardev=c,num-queues={queues}"]


def boot(kind: str, image: pathlib.Path, folder: pathlib.Path, initial: pathlib.Path, queues: int, accelerator: str) -> dict[str, dict]:
    """One guest from its boot to its end; fio's result of each job."""
    socket = folder / f"{kind}.sock"
    server = None
    if kind == "vhublkd":
        server = servers.Server(kind, socket, servers.vhublkd(socket, str(image), all_cpus(), queues, "auto", "adaptive"), all_cpus(), folder / "log")
    elif kind.startswith("qsd"):
        aio = "io_uring" if kind.endswith("io_uring") else "native"
        server = servers.Server(kind, socket, servers.storage_daemon(socket, str(image), queues, aio), all_cpus(), folder / "log")
    output = folder / "report"
    output.unlink(missing_ok=True)
    command = [
        places.program("qemu-system-x86_64"), "-machine", "q35,memory-backend=mem", "-m", MEMORY, "-smp", str(queues), *ACCELERATORS[accelerator],
        "-object", f"memory-backend-memfd,id=mem,size={MEMORY},share=on", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-kernel", str(places.LINKS / "kernel" / "vmlinuz"), "-append", "console=ttyS0 quiet panic=-1", "-initrd", str(initial),
        "-serial", f"file:{folder / 'console'}", "-serial", f"file:{output}", *disk_arguments(kind, image, socket, queues),
    ]  # fmt: skip
    try:
        if server:
            server.resume()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)
    finally:
        if server:
            server.stop()
    return results(kind, output.read_text(errors="replace") if output.exists() else "", done.stderr)


def results(kind: str, text: str, errors: str) -> dict[str, dict]:
    """fio's JSON of each job, out of what the guest printed."""
    found: dict[str, dict] = {}
    name, lines = "", []
    for line in text.replace("\r", "").splitlines():
        if line.startswith("@job "):
            name, lines = line.removeprefix("@job "), []
        elif line == "@done":
            body = "\n".join(lines)
            found[name] = json.loads(body[body.index("{"):])["jobs"][0]
        elif line.startswith("@fault "):
            raise places.Missing(f"{kind}: {line.removeprefix('@fault ')}")
        else:
            lines.append(line)
    if len(found) != len(JOBS):
        raise places.Missing(f"{kind}: the guest stopped after {len(found)} of {len(JOBS)} jobs: {errors.strip()[-300:]}")
    return found


def all_cpus() -> str:
    return ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))


def figure(job: dict) -> tuple[float, float, float]:
    """IOPS, bytes a second, and the 99th percentile in nanoseconds."""
    part = max((job["read"], job["write"]), key=lambda direction: direction["total_ios"])
    return part["iops"], part["bw_bytes"], part["clat_ns"]["percentile"]["99.000000"]


def table(rounds: dict[str, list[dict[str, dict]]]) -> str:
    lines = ["| job | " + " | ".join(rounds) + " |", "|---" * (len(rounds) + 1) + "|"]
    for job in (path.stem for path in JOBS):
        cells = []
        for samples in rounds.values():
            iops, bandwidth, tail = (statistics.median(values) for values in zip(*(figure(sample[job]) for sample in samples), strict=True))
            speed = f"{bandwidth / 1e6:.0f} MB/s" if "1m" in job else report.count(iops)
            cells.append(f"{speed}, p99 {report.time(tail)}")
        lines.append(f"| {job} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    kinds = ["vhublkd", "qsd-libaio", "qsd-io_uring", "qemu-libaio", "qemu-io_uring"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--servers", default=",".join(kinds), help="which, separated by commas (default: all: %(default)s)")
    add("--rounds", type=int, default=3, help="guests booted for each server (default: %(default)s)")
    add("--seconds", type=int, default=5, help="length of each job (default: %(default)s)")
    add("--queues", type=int, default=2, help="queues, and the guest's CPUs (default: %(default)s)")
    add("--accelerator", choices=ACCELERATORS, default="tcg", help="how the guest runs (default: %(default)s)")
    add("--folder", type=pathlib.Path, default=pathlib.Path("/dev/shm"), help="where the image is made (default: %(default)s)")
    add("--mebibytes", type=int, default=128, help="size of the image (default: %(default)s)")
    add("--output", type=pathlib.Path, default=places.RESULTS, help="folder of the results (default: bench/results)")
    chosen = parser.parse_args()
    wanted = chosen.servers.split(",")
    if unknown := set(wanted) - set(kinds):
        parser.error(f"--servers: {', '.join(sorted(unknown))}: want some of {', '.join(kinds)}")
    rounds: dict[str, list[dict[str, dict]]] = {kind: [] for kind in wanted}
    with tempfile.TemporaryDirectory(prefix="vhublk-guest-") as name, tempfile.TemporaryDirectory(dir=chosen.folder, prefix="vhublk-") as disks:
        folder, image = pathlib.Path(name), pathlib.Path(disks) / "image"
        with image.open("wb") as file:
            file.truncate(chosen.mebibytes << 20)
        initial = ramdisk(folder, chosen.seconds)
        for number in range(chosen.rounds):
            for kind in wanted:
                if sys.stderr.isatty():
                    print(f"\r\x1b[Kround {number + 1} of {chosen.rounds}: {kind}", end="", file=sys.stderr, flush=True)
                rounds[kind].append(boot(kind, image, folder, initial, chosen.queues, chosen.accelerator))
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    facts = f"{report.machine()['processor']}, {chosen.accelerator}, {chosen.queues} CPUs and queues, medians of {chosen.rounds} guests"
    text = f"# Disks as a guest sees them\n\n{facts}\n\n{table(rounds)}\n"
    print(text)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "guest.md").write_text(text)
    (chosen.output / "guest.json").write_text(json.dumps({"machine": report.machine(), "rounds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main()
    except places.Missing as error:
        sys.exit(f"error: {error}")
