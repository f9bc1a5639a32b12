"""Open the disk that a command names, and read its report in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zoned._core.looking import others_write, report_rows
from zoned.cli.select import Layout, Runs

if TYPE_CHECKING:
    from zoned import Device

#: Zones in one batch: as many as blkzone asks the kernel for at a time.
BATCH = 4096


def to_look(image: str) -> Device:
    """Open an image read-only."""
    import zoned

    return zoned.open(image, readonly=True)


def to_copy(image: str) -> Device:
    """Open an image for copying all of it: read-only, or, where somebody else writes to it and this
    user may do so too, such that a snapshot can be taken. No drive's time passes."""
    import zoned

    device = zoned.open(image, readonly=True, pace="none")
    try:
        if not others_write(device):
            return device
        writable = zoned.open(image, pace="none")
    except OSError:  # without a snapshot, which may do as well
        return device
    except BaseException:
        device.close()
        raise
    device.close()
    return writable


def to_change(image: str) -> Device:
    """Open an image for commands that change it."""
    import zoned

    return zoned.open(image)


def layout(device: Device, image: str) -> Layout:
    """What selecting zones needs to know."""
    geometry = device.geometry
    return Layout(image, geometry.size, geometry.zone_size, geometry.nr_zones)


def batches(device: Device, runs: Runs) -> Iterator[bytes]:
    """Raw reports (arrays of struct zd_zone) of the zones in runs."""
    for first, number in runs:
        for start in range(first, first + number, BATCH):
            yield report_rows(device, start, min(BATCH, first + number - start))


def write_areas(device: Device) -> list[int]:
    """The zones that have a random write area now; none on a disk without power."""
    if not device.geometry.zrwa_size or not device.powered:
        return []
    active = device.report(condition=["implicit_open", "explicit_open", "closed"])
    return [zone.index for zone in active if device.write_area(zone.index) is not None]
