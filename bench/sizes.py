#!/usr/bin/python3
"""How long vhublkd takes to be there, and how much memory it keeps: from the start to the first socket, exports made through the control
socket, SET_MEM_TABLE of 64 GiB, and resident memory with 1, 10 and 100 exports. Prints each beside its goal. Memory over its goal is an
error; so are times, with --strict, for a busy machine makes them anything."""

import argparse
import json
import os
import pathlib
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

from lib import places, usage

#: Milliseconds.
FIRST_SOCKET_GOAL, CREATION_GOAL, MEMORY_TABLE_GOAL = 50, 1000, 100
COUNTS = (1, 10, 100)


def memory_goal(exports: int) -> float:
    """MiB."""
    return 16 + 0.5 * exports


class Daemon:
    """vhublkd with a state directory, from its start to its end."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.control = folder / "control.sock"
        command = [places.product("vhublkd"), f"--control={self.control}", f"--state-dir={folder}/state", "--log-level=error"]
        begin = time.monotonic()
        self.process = subprocess.Popen(command, env=places.environment())
        self.connection = self._connect(self.control)
        self.milliseconds_to_socket = (time.monotonic() - begin) * 1000
        self.lines = self.connection.makefile("r")

    def _connect(self, path: pathlib.Path) -> socket.socket:
        deadline = time.monotonic() + 10
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(path))
                return connection
            except (FileNotFoundError, ConnectionRefusedError):
                connection.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise places.Missing(f"vhublkd did not listen on {path}") from None
                time.sleep(0.0005)

    def create(self, number: int) -> None:
        """A file of its own for each export, which is opened and probed as any other."""
        name = f"disk{number}"
        backing = self.folder / name
        with backing.open("wb") as file:
            file.truncate(64 << 20)
        call = {"jsonrpc": "2.0", "id": number, "method": "export.create", "params": {"name": name, "backing": str(backing)}}
        self.connection.sendall(json.dumps(call).encode() + b"\n")
        answer = json.loads(self.lines.readline())
        if "error" in answer:
            raise places.Missing(f"export.create: {answer['error']}")

    def resident(self) -> float:
        """MiB, the pages of the program's file included."""
        return usage.resident_kibibytes(self.process.pid) / 1024

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Frontend:
    """As much of a vhost-user front-end as it takes to hand over guest memory."""

    GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES = 1, 2, 3, 5, 15, 16
    REPLY_ACK = 1 << 3
    PROTOCOL_FEATURES = 1 << 30

    def __init__(self, path: pathlib.Path):
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(path))
        self._send(self.SET_OWNER)
        features = self._ask(self.GET_FEATURES)
        self._ask(self.GET_PROTOCOL_FEATURES)
        self._send(self.SET_PROTOCOL_FEATURES, struct.pack("<Q", self.REPLY_ACK))
        self._send(self.SET_FEATURES, struct.pack("<Q", features & (self.PROTOCOL_FEATURES | 1 << 32)))

    def _send(self, request: int, payload: bytes = b"", descriptors: tuple[int, ...] = (), flags: int = 1) -> None:
        socket.send_fds(self.connection, [struct.pack("<III", request, flags, len(payload)) + payload], descriptors)

    def _answer(self) -> int:
        return struct.unpack("<12xQ", self.connection.recv(20, socket.MSG_WAITALL))[0]

    def _ask(self, request: int) -> int:
        self._send(request)
        return self._answer()

    def memory_table(self, regions: int, size: int) -> float:
        """Milliseconds from SET_MEM_TABLE of so many sparse memory files to its acknowledgement."""
        files = tuple(os.memfd_create("guest") for _ in range(regions))
        try:
            for file in files:
                os.ftruncate(file, size)
            entries = b"".join(struct.pack("<QQQQ", index * size, size, index * size, 0) for index in range(regions))
            begin = time.monotonic()
            self._send(self.SET_MEM_TABLE, struct.pack("<II", regions, 0) + entries, files, flags=1 | 1 << 3)
            status = self._answer()
            spent = (time.monotonic() - begin) * 1000
        finally:
            for file in files:
                os.close(file)
        if status != 0:
            raise places.Missing(f"SET_MEM_TABLE was refused with {status}")
        return spent


def run(rounds: int) -> list[tuple[str, float, float, str, bool]]:
    """Lines of what, figure, goal, unit, and whether it is a time."""
    first, made, table = [], [], []
    resident: dict[int, float] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="vhublk-sizes-") as name:
            daemon = Daemon(pathlib.Path(name))
            try:
                first.append(daemon.milliseconds_to_socket)
                begin, spent = 0, 0.0
                for count in COUNTS:
                    start = time.monotonic()
                    for number in range(begin, count):
                        daemon.create(number)
                    spent += time.monotonic() - start
                    begin = count
                    time.sleep(0.2)
                    resident[count] = max(resident.get(count, 0), daemon.resident())
                made.append(spent * 1000)
                table.append(Frontend(daemon.folder / "disk0.sock").memory_table(8, 8 << 30))
            finally:
                daemon.stop()
    lines = [
        ("from the start to the first socket", statistics.median(first), FIRST_SOCKET_GOAL, "ms", True),
        (f"{COUNTS[-1]} exports of files made, one after the other", statistics.median(made), CREATION_GOAL, "ms", True),
        ("SET_MEM_TABLE of 64 GiB in 8 regions", statistics.median(table), MEMORY_TABLE_GOAL, "ms", True),
    ]
    return lines + [(f"resident with {count} exports", size, memory_goal(count), "MiB", False) for count, size in resident.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="daemons that are started; times are medians (default: %(default)s)")
    parser.add_argument("--strict", action="store_true", help="times over their goals are errors too")
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("--rounds must be positive")
    over = []
    print("| what | measured | at most |\n|---|---|---|")
    for what, figure, goal, unit, is_time in run(chosen.rounds):
        print(f"| {what} | {figure:.1f} {unit} | {goal:g} {unit} |")
        if figure > goal and (chosen.strict or not is_time):
            over.append(what)
    if over:
        sys.exit(f"error: over the goal: {', '.join(over)}")


if __name__ == "__main__":
    try:
        main()
    except places.Missing as error:
        sys.exit(f"error: {error}")
