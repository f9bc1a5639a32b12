"""What a disk tells about itself: identity, layout, limits, space used. Dataclasses, filled by a
Device.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from zoned.geometry import Geometry


@dataclass(frozen=True, slots=True)
class Limits:
    """Open and active resources, now. 0 in max_open or max_active means no limit."""

    max_open: int
    max_active: int
    implicit_open: int
    explicit_open: int
    closed: int

    @property
    def open(self) -> int:
        """Zones that hold an open resource."""
        return self.implicit_open + self.explicit_open

    @property
    def active(self) -> int:
        """Zones that hold an active resource: open and closed ones (ZNS 1.1, 2.1.1.4.1)."""
        return self.open + self.closed

    def as_dict(self) -> dict[str, int]:
        """For JSON."""
        return dataclasses.asdict(self) | {"open": self.open, "active": self.active}


@dataclass(frozen=True, slots=True)
class DiskInfo:
    """One look at a disk. Sizes in bytes."""

    path: str | None
    """None for a disk in RAM."""
    uuid: UUID
    created: datetime
    profile: str
    """The profile it was made from."""
    pace: str
    """"real": it was made so that its openers' commands take the time of that drive; or "none"."""
    version: int
    """Of the image format."""
    features: int
    """Feature word of the image format."""
    geometry: Geometry
    limits: Limits
    readonly: bool
    """This handle."""
    in_ram: bool
    clean: bool
    """Whether the image had been closed cleanly before this opening."""
    failed: bool
    """A sync to the host's disk failed: the image needs a check."""
    cow_host: bool
    """The host file system copies on write, so every store goes by pwrite."""
    slot_size: int
    """Zones that hold data have a slot of this size in the image."""
    slots_used: int
    slots_free: int
    """Freed and kept filled for reuse."""
    slots_pending: int
    """Freed, not yet synced to the host."""
    slots_total: int
    table_offset: int
    runtime_offset: int
    data_offset: int
    file_size: int
    """Length of the image, holes included."""
    file_blocks: int
    """What the image takes on the host."""

    @property
    def space_used(self) -> int:
        """Bytes in the slots of zones that hold data."""
        return self.slots_used * self.slot_size

    def as_dict(self) -> dict[str, object]:
        """For JSON: numbers, texts, lists and objects only."""
        geometry = {
            field.name: getattr(self.geometry, field.name) for field in dataclasses.fields(Geometry)
        }
        geometry["conventional"] = [list(pair) for pair in self.geometry.conventional.ranges()]
        geometry["nr_zones"] = self.geometry.nr_zones
        geometry["nr_conventional"] = self.geometry.nr_conventional
        geometry["last_zone_size"] = self.geometry.last_zone_size
        geometry["linux_acceptable"] = list(self.geometry.linux_acceptable)
        geometry["remarks"] = list(self.geometry.remarks)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {
            "uuid": str(self.uuid),
            "created": self.created.isoformat(),
            "geometry": geometry,
            "limits": self.limits.as_dict(),
            "space_used": self.space_used,
        }
