"""The servers that are compared. Each is started once per medium, held (SIGSTOP), and let go only for its rounds."""

import os
import pathlib
import shlex
import signal
import subprocess
import time

from . import places, usage


class Server:
    """A process that serves vhost-user-blk on a socket. Its figures stand under its name."""

    def __init__(self, name: str, socket: pathlib.Path, command: list[str], cpus: str, log: pathlib.Path):
        self.name = name
        self.socket = socket
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", cpus, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=places.environment()
            )
        self._await_socket()
        self.hold()

    def _await_socket(self) -> None:
        deadline = time.monotonic() + 10
        while not self.socket.is_socket():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise places.Missing(f"{self.name} did not start: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) or "it said nothing"

    def hold(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def usage(self) -> usage.Usage:
        return usage.usage(self.process.pid)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def vhublkd(socket: pathlib.Path, backing: str, cpus: str, queues: int, engine: str, poll: str) -> list[str]:
    return [
        places.product("vhublkd"), f"--socket-path={socket}", f"--blk-file={backing}", "--num-queues", str(queues),
        "--engine", engine, "--poll", poll, "--cpus", cpus,
    ]  # fmt: skip


def storage_daemon(socket: pathlib.Path, backing: str, queues: int, aio: str) -> list[str]:
    """qemu-storage-daemon with an I/O thread of its own, as its documentation has it."""
    if backing.startswith("null:"):
        block = f"driver=null-co,size={backing_size(backing)},read-zeroes=off"
    else:
        driver = "host_device" if pathlib.Path(backing).is_block_device() else "file"
        block = f"driver={driver},filename={backing},cache.direct=on,aio={aio},locking=off"
    return [
        places.program("qemu-storage-daemon"), "--object", "iothread,id=io", "--blockdev", f"{block},node-name=disk", "--export",
        f"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={socket},writable=on,num-queues={queues},iothread=io",
    ]  # fmt: skip


def peer(command: str, socket: pathlib.Path, backing: str) -> list[str]:
    """A server of the caller's own: {socket} and {backing} stand for what it serves and where."""
    return shlex.split(command.replace("{socket}", str(socket)).replace("{backing}", backing))


def backing_size(backing: str) -> int:
    text = backing.removeprefix("null:")
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[text[-1]] if text[-1].isalpha() else int(text)


def cpu_count() -> int:
    return len(os.sched_getaffinity(0))
