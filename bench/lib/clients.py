"""Who asks: vhublk-bench (verifies, tells percentiles), blkio-bench (nobody of this project wrote it), fio on the bare file."""

import dataclasses
import json
import subprocess

from . import places
from .servers import Server
from .work import Work


@dataclasses.dataclass(frozen=True)
class Sample:
    """One round of one server."""

    iops: float
    bytes_per_second: float
    #: Nanoseconds by percentile; empty where the client tells none.
    latency: dict[str, float]
    #: The mean, in nanoseconds; 0 where the client tells none.
    mean: float
    #: CPU time of the server for each request, in nanoseconds.
    cpu: float = 0.0
    #: CPUs that the server used.
    cores: float = 0.0
    #: The part of the round in which the server was ready but had no CPU.
    waited: float = 0.0


class ClientError(Exception):
    """A client that could not do its work; the text is its own."""


def _json(command: list[str], seconds: float) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, env=places.environment(), check=False)
    if done.returncode != 0:
        raise ClientError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout[done.stdout.index("{"):])


def _fio_figures(document: dict) -> Sample:
    """The one direction of a result in fio's form."""
    job = document["jobs"][0]
    part = max((job["read"], job["write"]), key=lambda direction: direction["total_ios"])
    times = part["clat_ns"]
    latency = {f"{float(name):g}": value for name, value in times.get("percentile", {}).items()}
    return Sample(part["iops"], part["bw_bytes"], latency, times["mean"])


def vhublk_bench(server: Server, work: Work, seconds: float, cpus: str) -> Sample:
    command = [
        "taskset", "-c", cpus, places.product("vhublk-bench"), "--socket", str(server.socket), f"--rw={work.rw}", f"--bs={work.block}",
        f"--iodepth={work.depth}", f"--numjobs={work.queues}", f"--cpus_allowed={cpus}", f"--wait={work.wait}", f"--runtime={round(seconds * 1000)}ms",
        "--time_based", "--eta=never", "--output-format=json+", "--group_reporting",
        "--percentile_list=50:90:99:99.9:99.99",
    ]  # fmt: skip
    if work.rate:
        command.append(f"--rate_iops={work.rate}")
    return _fio_figures(_json(command, seconds))


def blkio_bench(server: Server, work: Work, seconds: float, cpus: str) -> Sample:
    command = [
        "taskset", "-c", cpus, places.blkio_bench(), f"--num-threads={work.queues}", f"--iodepth={work.depth}", f"--readwrite={work.rw}",
        f"--blocksize={work.block}", f"--runtime={max(1, round(seconds))}", *(["--poll"] if work.wait == "poll" else []),
        "virtio-blk-vhost-user", f"path={server.socket}",
    ]  # fmt: skip
    figures = _json(command, seconds)["aggregate"]
    iops = figures["kiops"] * 1000
    return Sample(iops, iops * work.block, {}, figures["mean_lat_us"] * 1000)


CLIENTS = {"vhublk-bench": vhublk_bench, "blkio-bench": blkio_bench}


def fio(path: str, engine: str, work: Work, seconds: float, cpus: str) -> Sample:
    """The bare file or device, with nobody between; on the CPUs that a server would have."""
    command = [
        places.program("fio"), "--name=bare", f"--filename={path}", f"--ioengine={engine}", "--direct=1", f"--rw={work.rw}",
        f"--bs={work.block}", f"--iodepth={work.depth}", f"--numjobs={work.queues}", f"--cpus_allowed={cpus}", f"--runtime={round(seconds * 1000)}ms",
        "--time_based", "--group_reporting", "--output-format=json", "--allow_file_create=0", "--norandommap", "--randrepeat=0",
        "--percentile_list=50:90:99:99.9:99.99",
    ]  # fmt: skip
    if engine == "libaio":
        command += [f"--iodepth_batch_submit={work.depth}", f"--iodepth_batch_complete_max={work.depth}", "--userspace_reap"]
    return _fio_figures(_json(command, seconds))


def measured(server: Server, work: Work, seconds: float, cpus: str, client: str) -> Sample:
    """A round: the server runs, all others stand."""
    server.resume()
    before = server.usage()
    try:
        sample = CLIENTS[client](server, work, seconds, cpus)
    finally:
        spent = server.usage() - before
        server.hold()
    requests = sample.iops * seconds
    return dataclasses.replace(
        sample, cpu=spent.on_cpu / requests if requests else 0.0, cores=spent.on_cpu / spent.clock, waited=spent.waited_share
    )
