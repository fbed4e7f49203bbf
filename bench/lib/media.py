"""What is served: each medium gives every server a copy of its own, because vhublkd locks what it serves."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from . import places

SIZE = 256 << 20


class Medium:
    """A kind of disk. `backing` gives the path (or null:SIZE) for one server."""

    def __init__(self, name: str):
        self.name = name
        self.stack = contextlib.ExitStack()

    #: Whether the bare file or device can be read by fio.
    has_files = True

    def backing(self, server: str) -> str:
        raise NotImplementedError

    def close(self) -> None:
        self.stack.close()


class Null(Medium):
    has_files = False

    def backing(self, server: str) -> str:
        return "null:1G"


class Files(Medium):
    """Files of random data in a folder: holes would be read without touching a disk."""

    def __init__(self, name: str, parent: pathlib.Path):
        super().__init__(name)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vhublk-bench-", dir=parent))
        self.stack.callback(shutil.rmtree, self.folder, ignore_errors=True)

    def backing(self, server: str) -> str:
        path = self.folder / server
        if not path.exists():
            fill(path)
        return str(path)


class Loops(Files):
    """Loop devices over such files, with direct I/O to them."""

    def backing(self, server: str) -> str:
        file = super().backing(server)
        device = subprocess.run(
            [places.program("losetup"), "--find", "--show", "--direct-io=on", file], check=True, capture_output=True, text=True
        ).stdout.strip()
        self.stack.callback(subprocess.run, ["losetup", "--detach", device], check=False)
        return device


class RAMDisks(Medium):
    """zram devices: block devices of 4096-byte blocks that complete at once."""

    control = pathlib.Path("/sys/class/zram-control")

    def backing(self, server: str) -> str:
        if not self.control.exists():
            subprocess.run(["modprobe", "zram"], check=False, capture_output=True)
        try:
            number = (self.control / "hot_add").read_text().strip()
        except OSError as error:
            raise places.Missing(f"zram devices cannot be made here: {error}") from error
        self.stack.callback(remove_zram, self.control, number)
        pathlib.Path(f"/sys/block/zram{number}/disksize").write_text(str(SIZE))
        device = pathlib.Path(f"/dev/zram{number}")
        fill(device)
        return str(device)


def remove_zram(control: pathlib.Path, number: str) -> None:
    pathlib.Path(f"/sys/block/zram{number}/reset").write_text("1")
    (control / "hot_remove").write_text(number)


def fill(path: pathlib.Path) -> None:
    """Writes SIZE random bytes. No page is zero or like its neighbour within a mebibyte."""
    piece = os.urandom(1 << 20)
    with path.open("r+b" if path.exists() else "w+b") as file:
        for _ in range(SIZE >> 20):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def medium(name: str) -> Medium:
    """null, tmpfs, zram, loop, or a folder in which files are made."""
    match name:
        case "null":
            return Null(name)
        case "tmpfs":
            return Files(name, pathlib.Path("/dev/shm"))
        case "zram":
            return RAMDisks(name)
        case "loop":
            return Loops(name, pathlib.Path(tempfile.gettempdir()))
    folder = pathlib.Path(name)
    if not folder.is_dir():
        raise places.Missing(f"{name}: neither null, tmpfs, zram or loop nor a folder; give a folder of the file system to measure")
    return Files(name, folder)
