"""What a program reads of a block device in /sys and /proc, as files of the run's folder.

The tree has the kernel's shape (null_blk's on Linux 6.12), so that relative links and paths within
it lead where they do there. The host's own block devices stay visible through links.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from zoned.geometry import Dialect, Geometry

SECTOR = 512
Attributes = dict[str, object]
_MAX_SECTORS_KB = 1280
_MAX_TRANSFER_KB = 8192
"""What MDTS says: no NVMe command moves more."""


@dataclass(frozen=True, slots=True)
class Node:
    """A disk as the program sees it."""

    name: str
    """In /dev: "zoned0"."""
    chars: str
    """Of its character node: generic SCSI, or NVMe controller. "" if it has none."""
    number: tuple[int, int]
    char_number: tuple[int, int]
    diskseq: int
    readonly: bool
    uuid: UUID
    geometry: Geometry

    @property
    def dev(self) -> str:
        """ "254:0"."""
        return f"{self.number[0]}:{self.number[1]}"


def numbers() -> tuple[int, int]:
    """A block and a character major that no driver of this host has: of those for local use, 240
    to 254, else above all others. They differ: some programs (fio) look for a disk in sysfs by its
    number alone.
    """
    used: dict[str, set[int]] = {"Block": set(), "Character": set()}
    section = used["Character"]
    try:
        lines = Path("/proc/devices").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if rest.startswith("devices:"):
            section = used[word]
        elif word.isdecimal():
            section.add(int(word))
    chosen: list[int] = []
    for taken in (used["Block"], used["Character"] | used["Block"]):
        free = (major for major in range(240, 255) if major not in {*taken, *chosen})
        chosen.append(next(free, max([*taken, *chosen], default=0) + 1))
    block, character = chosen
    return block, character


def _queue(node: Node) -> Attributes:
    geometry = node.geometry
    return {
        "add_random": 0,
        "chunk_sectors": geometry.zone_size // SECTOR,
        "dax": 0,
        "discard_granularity": 0,
        "discard_max_bytes": 0,
        "discard_max_hw_bytes": 0,
        "discard_zeroes_data": 0,
        "dma_alignment": 511,
        "fua": 0,
        "hw_sector_size": geometry.logical_block,
        "io_poll": 0,
        "io_poll_delay": -1,
        "io_timeout": 30000,
        "iostats": 1,
        "logical_block_size": geometry.logical_block,
        "max_active_zones": geometry.max_active,
        "max_discard_segments": 1,
        "max_hw_sectors_kb": (
            _MAX_TRANSFER_KB if geometry.dialect is Dialect.ZNS else _MAX_SECTORS_KB
        ),
        "max_integrity_segments": 0,
        "max_open_zones": geometry.max_open,
        "max_sectors_kb": _MAX_SECTORS_KB,
        "max_segment_size": 65536,
        "max_segments": 128,
        "minimum_io_size": geometry.physical_block,
        "nomerges": 0,
        "nr_requests": 64,
        "nr_zones": geometry.nr_zones,
        "optimal_io_size": 0,
        "physical_block_size": geometry.physical_block,
        "read_ahead_kb": 128,
        "rotational": int(geometry.dialect is Dialect.ZBC),
        "rq_affinity": 1,
        "scheduler": "[none] mq-deadline ",
        "stable_writes": 0,
        "virt_boundary_mask": 0,
        "wbt_lat_usec": 2000,
        "write_cache": "write back",
        "write_same_max_bytes": 0,
        "write_zeroes_max_bytes": 0,
        "zone_append_max_bytes": min(geometry.append_limit, _MAX_SECTORS_KB * 1024),
        "zone_write_granularity": geometry.physical_block,
        "zoned": "host-managed",
    }


def _device(node: Node) -> Attributes:
    uevent = {
        "MAJOR": node.number[0],
        "MINOR": node.number[1],
        "DEVNAME": node.name,
        "DEVTYPE": "disk",
        "DISKSEQ": node.diskseq,
    }
    return {
        "alignment_offset": 0,
        "capability": 0,
        "dev": node.dev,
        "discard_alignment": 0,
        "diskseq": node.diskseq,
        "events": "",
        "events_async": "",
        "events_poll_msecs": -1,
        "ext_range": 1,
        "hidden": 0,
        "inflight": f"{0:8d} {0:8d}",
        "partscan": 0,
        "range": 1,
        "removable": 0,
        "ro": int(node.readonly),
        "size": node.geometry.size // SECTOR,
        "stat": " ".join(f"{0:8d}" for _ in range(17)),
        "uevent": "\n".join(f"{key}={value}" for key, value in uevent.items()),
    }


def _scsi() -> Attributes:
    """Of the SCSI device behind a disk, as INQUIRY has it."""
    return {
        "device_blocked": 0,
        "model": "HOST-MANAGED SMR ",
        "queue_depth": 64,
        "queue_type": "simple",
        "rev": "0001",
        "scsi_level": 8,
        "state": "running",
        "timeout": 30,
        "type": 20,
        "vendor": "ZONED   ",
    }


def _add_character_node(
    sys: Path, node: Node, device: Path, under: str, attributes: Attributes
) -> None:
    """``device``, the node in /sys/class/``under``, and the links that lead there."""
    number = f"{node.char_number[0]}:{node.char_number[1]}"
    uevent = f"MAJOR={node.char_number[0]}\nMINOR={node.char_number[1]}\nDEVNAME={node.chars}"
    _write(device, attributes | {"dev": number, "uevent": uevent})
    _link(device / "subsystem", sys / "class" / under)
    _link(sys / "class" / under / node.chars, device)
    _link(sys / "dev/char" / number, device)


def _free_host(sys: Path) -> int:
    """The number of a SCSI host that this machine has not."""
    names = (entry.name.partition(":")[0] for entry in (sys / "class/scsi_device").iterdir())
    return 1 + max((int(name) for name in names if name.isdecimal()), default=-1)


def _add_scsi(sys: Path, node: Node, device: Path, host: int) -> None:
    """The SCSI device behind ``device``, and its generic node."""
    scsi = device / "device"
    _write(scsi, _scsi())
    address = scsi / "scsi_device" / f"{host}:0:{node.number[1]}:0"
    _write(address, {})
    _link(address / "device", scsi)
    _link(address / "subsystem", sys / "class/scsi_device")
    _link(sys / "class/scsi_device" / address.name, address)
    generic = scsi / "scsi_generic" / node.chars
    _add_character_node(sys, node, generic, "scsi_generic", {})
    (scsi / "block").mkdir()
    _link(scsi / "block" / node.name, device)
    _link(scsi / "generic", generic)
    _link(generic / "device", scsi)


def _nvme(node: Node) -> Attributes:
    """Of the controller behind a namespace, as IDENTIFY has it."""
    return {
        "address": "",
        "cntlid": 1,
        "cntrltype": "io",
        "dctype": "none",
        "firmware_rev": f"{'0001':8}",
        "kato": 0,
        "model": f"{'ZONED ZNS DRIVE':40}",
        "numa_node": -1,
        "queue_count": 2,
        "serial": node.uuid.hex[:20],
        "sqsize": 127,
        "state": "live",
        "transport": "loop",
    }


def _add_nvme(sys: Path, node: Node, device: Path) -> None:
    """What NVMe adds to a namespace, and the controller behind it."""
    namespace: Attributes = {
        "csi": 2,
        "metadata_bytes": 0,
        "nsid": 1,
        "uuid": node.uuid,
        "wwid": f"uuid.{node.uuid}",
    }
    _add_files(device, namespace)
    controller = device / "device"
    _add_character_node(sys, node, controller, "nvme", _nvme(node))
    _link(controller / node.name, device)


def _write(folder: Path, attributes: Attributes) -> None:
    folder.mkdir(parents=True)
    _add_files(folder, attributes)


def _add_files(folder: Path, attributes: Attributes) -> None:
    for name, value in attributes.items():
        (folder / name).write_text(f"{value}\n", encoding="utf-8")


def _keep_host(place: Path, host: Path) -> None:
    """The host's own entries of a folder that the run takes over, as links."""
    place.mkdir(parents=True)
    try:
        entries = list(os.scandir(host))
    except OSError:
        return
    for entry in entries:
        (place / entry.name).symlink_to(os.path.realpath(entry.path))


def _link(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(os.path.relpath(target, place.parent))


def write_tree(folder: Path, nodes: Iterable[Node]) -> None:
    """Make ``folder``/sys and ``folder``/proc for these disks. Raises OSError."""
    sys = folder / "sys"
    for name in (
        "block",
        "class/block",
        "dev/block",
        "dev/char",
        "class/scsi_device",
        "class/scsi_generic",
        "class/nvme",
    ):
        _keep_host(sys / name, Path("/sys") / name)
    host = _free_host(sys)
    partitions = _host_partitions()
    for node in nodes:
        device = sys / "devices/virtual/block" / node.name
        _write(device, _device(node))
        _write(device / "queue", _queue(node))
        for empty in ("holders", "slaves", "power"):
            (device / empty).mkdir()
        _link(sys / "block" / node.name, device)
        _link(sys / "class/block" / node.name, device)
        _link(sys / "dev/block" / node.dev, device)
        _link(device / "subsystem", sys / "class/block")
        if node.geometry.dialect is Dialect.ZBC:
            _add_scsi(sys, node, device, host)
        if node.geometry.dialect is Dialect.ZNS:
            _add_nvme(sys, node, device)
        blocks = node.geometry.size // 1024
        partitions += f"{node.number[0]:4d}  {node.number[1]:7d} {blocks:10d} {node.name}\n"
    (folder / "proc").mkdir()
    (folder / "proc/partitions").write_text(partitions, encoding="utf-8")


def _host_partitions() -> str:
    try:
        return Path("/proc/partitions").read_text(encoding="utf-8")
    except OSError:
        return "major minor  #blocks  name\n\n"
