"""What a disk looks like and which rules it keeps: checked, complete, immutable. Pure data, no I/O.

zoned.resolving makes one, and refuses those that cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from zoned.units import counted, format_size
from zoned.zone import ZoneType
from zoned.zonelist import ZoneSet

MOST_RANGES = 440

Conventional = int | str | Iterable[tuple[int, int] | range]
"""Conventional zones: that many at the front, zones by text (``0-1,8``), or (first, count) pairs
and ranges.
"""


class GeometryError(ValueError):
    """A disk that cannot be: the message names the field and the numbers."""


class Dialect(StrEnum):
    """The rule book: a SCSI/ATA disk (ZBC-2), an NVMe drive (ZNS 1.1), or Linux's null_blk."""

    ZBC = "zbc"
    ZNS = "zns"
    NULLBLK = "nullblk"


class Model(StrEnum):
    """Host-managed: sequential zones are write-required. Host-aware: write-preferred."""

    HOST_MANAGED = "host-managed"
    HOST_AWARE = "host-aware"


class ImplicitClose(StrEnum):
    """Which implicitly open zone is closed when an open resource is needed: opened longest ago
    (QEMU), lowest index (scsi_debug), or next behind the last victim (null_blk).
    """

    OLDEST = "oldest"
    LOWEST = "lowest"
    ROUND_ROBIN = "round-robin"


class DataMode(StrEnum):
    """Whether payload is kept. ``none``: reads give zeros below the write pointer."""

    STORE = "store"
    NONE = "none"


class HostSync(StrEnum):
    """When the host's own disk is synced: at flush, after every command, never."""

    FLUSH = "flush"
    COMMAND = "command"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Layout and behaviour of a disk. Sizes in bytes; max_open and max_active: 0 is no limit."""

    size: int
    zone_size: int
    zone_capacity: int
    """Writable bytes of a sequential zone; conventional zones use their whole length."""
    conventional: ZoneSet
    logical_block: int
    physical_block: int
    max_open: int
    max_active: int
    append_limit: int
    dialect: Dialect
    model: Model
    implicit_close: ImplicitClose
    unrestricted_read: bool
    """URSWRZ of ZBC-2; in zns: reads may cross zone boundaries."""
    data: DataMode
    host_sync: HostSync
    seed: int
    slot_cache: int
    """Bytes of freed zones kept filled for reuse."""
    profile: str
    zone_extension: int = 0
    """Bytes of a zone's descriptor extension (zns); 0: zones have none."""
    zrwa_size: int = 0
    """Bytes of a zone's random write area (zns); 0: zones have none, and the next two are 0."""
    zrwa_granularity: int = 0
    """The write pointer of a zone that has one moves by multiples of it."""
    zrwa_count: int = 0
    """Zones that may have one at a time."""

    @property
    def nr_zones(self) -> int:
        """How many zones, a smaller last one included."""
        return -(-self.size // self.zone_size)

    @property
    def nr_conventional(self) -> int:
        """How many of them are conventional."""
        return len(self.conventional)

    @property
    def last_zone_size(self) -> int:
        """Length of the last zone: less than zone_size when zone_size does not divide size."""
        return self.size - (self.nr_zones - 1) * self.zone_size

    @property
    def sequential_type(self) -> ZoneType:
        """Type of the zones that are not conventional."""
        if self.model is Model.HOST_AWARE:
            return ZoneType.SEQ_WRITE_PREFERRED
        return ZoneType.SEQ_WRITE_REQUIRED

    def zone_of(self, offset: int) -> int:
        """Index of the zone that holds a byte offset. Raises IndexError beyond the disk."""
        if not 0 <= offset < self.size:
            raise IndexError(f"offset {offset} is not on the disk, which has {self.size} bytes")
        return offset // self.zone_size

    def zone_start(self, zone: int) -> int:
        """First byte of a zone. Raises IndexError where there is none."""
        return self._known(zone) * self.zone_size

    def zone_length(self, zone: int) -> int:
        """Bytes from a zone's start to its end. Raises IndexError where there is none."""
        return self.last_zone_size if self._known(zone) == self.nr_zones - 1 else self.zone_size

    def zone_capacity_of(self, zone: int) -> int:
        """Writable bytes of a zone. Raises IndexError where there is none."""
        length = self.zone_length(zone)
        return length if zone in self.conventional else min(length, self.zone_capacity)

    def zone_type(self, zone: int) -> ZoneType:
        """Type of a zone. Raises IndexError where there is none."""
        if self._known(zone) in self.conventional:
            return ZoneType.CONVENTIONAL
        return self.sequential_type

    def _known(self, zone: int) -> int:
        if not 0 <= zone < self.nr_zones:
            raise IndexError(
                f"zone {zone} does not exist: the disk has zones 0 to {self.nr_zones - 1}"
            )
        return zone

    @property
    def linux_acceptable(self) -> tuple[str, ...]:
        """Why Linux would not use this disk as a zoned one, a sentence each; empty if it would.

        After blk_revalidate_disk_zones() (block/blk-zoned.c), sd_zbc_check_zoned_characteristics()
        (drivers/scsi/sd_zbc.c) and nvme_query_zone_info() (drivers/nvme/host/zns.c) of Linux 6.12:
        zones of one power-of-two length, the last at most shorter. Capacity below size,
        conventional zones anywhere and a shorter last zone are all taken.
        """
        reasons: list[str] = []
        if self.zone_size & (self.zone_size - 1):
            reasons.append(f"the zone size, {self.zone_size} bytes, is not a power of two")
        if self.zone_size // 512 >= 2**32:
            reasons.append(f"the zone size, {self.zone_size} bytes, is 2^32 sectors or more")
        if self.model is Model.HOST_AWARE:
            reasons.append("Linux 6.8 and later treat a host-aware disk as one without zones")
        elif self.dialect is Dialect.ZBC and not self.unrestricted_read:
            reasons.append("reads behind the write pointer are refused (URSWRZ is off)")
        return tuple(reasons)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What no real drive of this kind has, a sentence each; allowed all the same."""
        remarks: list[str] = []
        if self.dialect is Dialect.ZNS and self.conventional:
            remarks.append("no ZNS drive has conventional zones")
        if self.dialect is Dialect.ZBC and self.max_active:
            remarks.append("ZBC knows no limit of active zones, only one of open zones")
        return tuple(remarks)

    def describe(self) -> str:
        """One line for people: "64 MiB, 16 zones of 4 MiB, 2 conventional, ..."."""
        parts = [
            format_size(self.size),
            f"{counted(self.nr_zones, 'zone')} of {format_size(self.zone_size)}",
        ]
        if self.zone_capacity != self.zone_size:
            parts.append(f"capacity {format_size(self.zone_capacity)}")
        if self.last_zone_size != self.zone_size:
            parts.append(f"last zone {format_size(self.last_zone_size)}")
        if self.conventional:
            parts.append(f"{self.nr_conventional} conventional ({self.conventional})")
        blocks = f"blocks {self.logical_block}"
        if self.physical_block != self.logical_block:
            blocks += f"/{self.physical_block}"
        parts.append(blocks)
        parts.append(f"max open {self.max_open or 'unlimited'}")
        if self.max_active:
            parts.append(f"max active {self.max_active}")
        parts.append(f"{self.dialect} {self.model}")
        return ", ".join(parts)


FIELDS = (
    "size",
    "zone_size",
    "zone_capacity",
    "conventional",
    "logical_block",
    "physical_block",
    "max_open",
    "max_active",
    "append_limit",
    "zone_extension",
    "zrwa_size",
    "zrwa_granularity",
    "zrwa_count",
    "dialect",
    "model",
    "implicit_close",
    "unrestricted_read",
    "data",
    "host_sync",
    "seed",
    "slot_cache",
)
"""What a geometry says, by the names of the keywords that say it."""

KEYWORDS = (*FIELDS, "zones")
"""The keywords of ``zoned.create`` that make a geometry, and the keys of a profile."""
