"""The folder of a run: what its processes find their disks by, and what is left of them.

It lies in memory where the host has /dev/shm and belongs to whoever made it; the next run takes
away those whose maker was killed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import zoned
from zoned._core import folders
from zoned.device import Device
from zoned.drives.pace import drive_named, packed
from zoned.errors import ZonedError
from zoned.geometry import Dialect
from zoned.info import Pace
from zoned.running import nodes
from zoned.running.nodes import Node

_PREFIX = "zoned-run-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,29}")
_MOST = 16
_LIBRARY = "_preload.abi3.so"
_SPLIT = re.compile(r"[ :$]")
"""What ends a name in LD_PRELOAD, or begins a variable of the loader's: ld.so(8)."""
_CHARACTER_NODES = {Dialect.ZBC: "zsg", Dialect.ZNS: "zng"}
"""What the names of a disk's character node begin with: generic SCSI, NVMe controller."""


class RunError(ValueError):
    """A run that cannot be: the message says what would be right."""


def library() -> str:
    """The path of the library that stands in a program's way. Raises RunError."""
    path = Path(zoned.__file__).with_name(_LIBRARY)
    if not path.exists():
        raise RunError(f"{path} is missing: build the native parts with `pip install .`")
    return str(path)


def _node_name(name: str) -> str:
    short = name.removeprefix("/dev/")
    if not _NAME.fullmatch(short):
        raise RunError(
            f"{name!r} cannot be a disk's name: use up to 30 letters, digits, dots, dashes and"
            " underscores, with or without /dev/ before them"
        )
    if os.path.lexists(f"/dev/{short}"):
        raise RunError(f"/dev/{short} is there already on this host: choose another name")
    return short


class Session:
    """Disks in place for programs, as long as it is open.

    ``disks`` gives an image for each name in /dev ("zoned0", "/dev/sdz"); ``fresh`` profiles of
    disks in RAM that are thrown away at the end, named by the same rule as images without a name.
    ``pace`` is that of ``zoned.open``: whose time the programs' commands take. Each process has a
    drive of its own.
    """

    def __init__(
        self,
        disks: Mapping[str, str | os.PathLike[str]],
        *,
        fresh: Mapping[str, str | os.PathLike[str]] | None = None,
        explain: bool = False,
        pace: Pace | str | os.PathLike[str] | None = None,
    ) -> None:
        self._images = {
            _node_name(name): os.path.abspath(os.fsdecode(p)) for name, p in disks.items()
        }
        self._fresh = {_node_name(name): profile for name, profile in (fresh or {}).items()}
        both = self._images.keys() & self._fresh.keys()
        if both or len(self._images) != len(disks) or len(self._fresh) != len(fresh or {}):
            raise RunError("two disks have the same name: give each its own")
        if not 1 <= len(self._images) + len(self._fresh) <= _MOST:
            raise RunError(f"a run has 1 to {_MOST} disks: give an image, or --fresh")
        for image in self._images.values():
            if "\n" in image or "\t" in image:
                raise RunError(
                    f"{image!r}: an image of a run may have no tab or newline in its path"
                )
        self._explain = explain
        self._pace = pace
        self._held = folders.Held()
        self._library = ""
        self.folder = ""
        """Of the run, while it is open."""
        self.devices: dict[str, Device] = {}
        """Handles on the disks by name."""
        self.notes: list[str] = []
        """What the program will not see as it could, a sentence each."""

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """The disks are closed and the folder goes. More than once is fine."""
        devices, self.devices = self.devices, {}
        with contextlib.ExitStack() as stack:
            stack.callback(self._held.close)
            for device in devices.values():
                stack.callback(device.close)

    def environment(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a program that shall find the disks."""
        env = dict(os.environ if base is None else base)
        before = env.get("LD_PRELOAD", "")
        env["LD_PRELOAD"] = f"{before}:{self._library}" if before else self._library
        env["ZONED_RUN"] = self.folder
        if self._explain:
            env["ZONED_RUN_EXPLAIN"] = "1"
        return env

    def refused(self) -> list[tuple[str, str, int, str, str]]:
        """Refused commands so far: disk, rule, process, program, sentence."""
        lines = Path(self.folder, "refused").read_text(encoding="utf-8", errors="replace")
        found = []
        for line in lines.splitlines():
            fields = line.split("\t", 4)
            if len(fields) == 5:
                found.append((fields[0], fields[1], int(fields[2]), fields[3], fields[4]))
        return found

    # ------------------------------------------------------------ inside

    def _begin(self) -> None:
        self._library = library()
        home = folders.home()
        folders.sweep(_PREFIX, home)
        self.folder = self._held.make(_PREFIX, home)
        if _SPLIT.search(self._library):
            self._name_library()
        images = dict(self._images)
        for at, (name, profile) in enumerate(self._fresh.items()):
            images[name] = os.path.join(self.folder, f"fresh{at}.img")
            self.devices[name] = zoned.create(images[name], profile=profile, host_sync="never")
        for name, image in self._images.items():
            self.devices[name] = _opened(image)
        self._lay_out([*images])
        lines = [
            f"{self._block_name(node)}\t{node.chars or '-'}\t{node.dev}\t"
            f"{node.char_number[0]}:{node.char_number[1]}\t{node.diskseq}\t{images[node.name]}\n"
            for node in self._nodes
        ]
        Path(self.folder, "disks").write_text(
            "".join(lines), encoding="utf-8", errors="surrogateescape"
        )
        for name in ("state", "refused"):
            Path(self.folder, name).touch()
        for name in ("fd", "locks", "pace", "nvme"):
            os.mkdir(os.path.join(self.folder, name))
        for at in range(len(lines)):
            Path(self.folder, "locks", str(at)).touch()
        for at, node in enumerate(self._nodes):
            self._set_pace(node, Path(self.folder, "pace", str(at)))
        nodes.write_tree(
            Path(self.folder), [node for node in self._nodes if self._block_name(node) != "-"]
        )

    def _name_library(self) -> None:
        """Give the library a name that the loader takes for one. Raises RunError."""
        name = os.path.join(self.folder, "preload.so")
        if _SPLIT.search(name):
            raise RunError(
                f"{self._library}: the loader takes no library by a path with a blank, colon or"
                f" dollar sign, and neither one in {self.folder}: set TMPDIR to a folder without"
            )
        os.symlink(self._library, name)
        self._library = name

    def _set_pace(self, node: Node, file: Path) -> None:
        """Tell the programs whose time this disk's commands take, if it is somebody's."""
        device = self.devices[node.name]
        pace = device.info().pace if self._pace is None else os.fspath(self._pace)
        if pace != Pace.NONE:
            _, model = drive_named(device, pace)
            file.write_bytes(packed(node.geometry, model))

    def _lay_out(self, names: Sequence[str]) -> None:
        block, character = nodes.numbers()
        self._nodes = []
        for at, name in enumerate(names):
            device = self.devices[name]
            before = _CHARACTER_NODES.get(device.geometry.dialect, "")
            self._nodes.append(
                Node(
                    name=name,
                    chars=f"{before}{at}" if before else "",
                    number=(block, at),
                    char_number=(character, at),
                    diskseq=at + 1,
                    readonly=device.readonly,
                    uuid=device.uuid,
                    geometry=device.geometry,
                )
            )

    def _block_name(self, node: Node) -> str:
        """Its name as a block device; "-" where Linux would make none of it."""
        reasons = node.geometry.linux_acceptable
        if not reasons:
            return node.name
        note = f"there is no /dev/{node.name}, as on Linux: {'; '.join(reasons)}" + (
            f" (use /dev/{node.chars})" if node.chars else ""
        )
        if note not in self.notes:
            self.notes.append(note)
        return "-"


def _opened(image: str) -> Device:
    """A handle on an image, for looking only where it may not be written. Raises OSError."""
    try:
        return zoned.open(image, pace=Pace.NONE)
    except ZonedError:
        raise
    except PermissionError:
        return zoned.open(image, readonly=True, pace=Pace.NONE)
    except OSError:
        if os.access(image, os.W_OK):
            raise
        return zoned.open(image, readonly=True, pace=Pace.NONE)
