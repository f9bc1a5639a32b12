"""The differences between the kernel's emulated disks and ours that are meant to be, as data.

Each entry tolerates one thing exactly: on which disk, for which step on which zones, what the kernel answers
and what we answer. Whatever does not match to the letter is a difference that fails the tests.

What is not compared at all, and why:

- A write pointer, where there is none: conventional, FULL, READ_ONLY and OFFLINE zones.
- RESET RECOMMENDED on scsi_debug: it never sets that bit (ZBC-2 leaves to the drive when to).
- Physical blocks larger than logical ones: scsi_debug does not check that a write ends on one, null_blk knows
  but one block size.
- Appends: the kernel offers user space none.
- Ranges of zones on null_blk: one ioctl for many zones becomes one command for each, and the block layer
  goes on behind one that failed; the disk sees single commands in any case.
- Writes on null_blk that cross a zone's end, and what lies beyond the disk's: the block layer splits the
  former and shortens or refuses the latter before the disk sees them.
- Write errors are reported by the block layer's own write pointer tracking before null_blk sees the write;
  the errno is EIO either way. After a failed write it needs a report to look anew; there is one after
  every step.
- READ_ONLY and OFFLINE on null_blk are set by FINISH and then the condition (null_set_zone_cond); the
  emulator's side does both commands. Conventional zones it refuses to set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernel.scenario import Disk, Record, Step


@dataclass(frozen=True)
class Difference:
    name: str
    kind: str
    """Of the disk."""
    cause: str
    applies: Callable[[Disk, Step, list[str]], bool]
    """Given the zones as they were before the step."""
    theirs: Callable[[Disk, Step, list[str], Record], bool]
    """Whether the kernel's record is the one that this difference explains."""
    ours: Callable[[Disk, Step, list[str], Record], bool]
    ends: bool = False
    """The disks are no longer in the same state after it: nothing that follows is compared."""


# ---------------------------------------------------------------- scsi_debug: reads in a gap


def _begins_in_gap(disk: Disk, step: Step, zones: list[str]) -> bool:
    if step.do != "read" or not 0 <= step.arguments["at"] < disk.size:
        return False
    at, length = step.arguments["at"], step.arguments["length"]
    zone = at // disk.zone_size
    return at >= disk.start(zone) + disk.capacity(zone) and at + length <= disk.size


def _gap_read_theirs(disk: Disk, step: Step, zones: list[str], record: Record) -> bool:
    at, length = step.arguments["at"], step.arguments["length"]
    last = (at + length - 1) // disk.zone_size
    if at + length - 1 < disk.start(last) + disk.capacity(last):  # ends in a zone that is no gap
        return record.get("error") == "5/21/06"
    return record["result"] == length


# ---------------------------------------------------------------- scsi_debug: OPEN ALL over its own victims


def _open_all_walk(disk: Disk, zones: list[str]) -> list[str]:
    """resp_open_zone() with ALL, as zbc_open_all() walks: a zone that was closed to make room for one before it
    is a closed zone when the walk comes to it.
    """
    now = list(zones)

    def count(condition: str) -> int:
        return sum(zone.startswith(condition) for zone in now)

    for at, zone in enumerate(now):
        if not zone.startswith("cl"):
            continue
        if disk.max_open and count("oi") + count("oe") >= disk.max_open:
            victim = next((i for i, other in enumerate(now) if other.startswith("oi")), None)
            if victim is not None:
                wp = now[victim].split(":")[1]
                now[victim] = f"cl:{wp}" if int(wp) else "em:0"
        now[at] = "oe" + zone[2:]
    return now


def _open_all_ours(zones: list[str], record: Record) -> bool:
    """What was closed is open, what was open explicitly still is, and no zone else was opened."""
    pairs = list(zip(zones, record["zones"], strict=True))
    return all((now[:2] == "oe") == (was[:2] in ("cl", "oe")) for was, now in pairs)


def _explicit(zones: list[str]) -> int:
    return sum(zone.startswith("oe") for zone in zones)


KNOWN: tuple[Difference, ...] = (
    Difference(
        name="scsi_debug-read-in-gap",
        kind="scsi_debug",
        cause=(
            "ZBC-2 4.5.3.6: a read of a gap zone ends with ILLEGAL REQUEST, ATTEMPT TO ACCESS GAP ZONE (21 09). "
            "scsi_debug checks writes only: such a read succeeds, or fails for the type of the zone it ends in."
        ),
        applies=_begins_in_gap,
        theirs=_gap_read_theirs,
        ours=lambda disk, step, zones, record: record.get("error") == "5/21/09",
    ),
    Difference(
        name="scsi_debug-open-all-over-limit",
        kind="scsi_debug",
        cause=(
            "ZBC-2 5.4: OPEN ZONE with ALL opens the zones that are closed when it comes, or none if there are "
            "too few resources. scsi_debug also opens a zone that it closed itself to make room, if it lies "
            "behind, and so has more zones explicitly open than its own limit."
        ),
        applies=lambda disk, step, zones: step.do == "open_all" and bool(disk.max_open),
        theirs=lambda disk, step, zones, record: (
            record["zones"] == _open_all_walk(disk, zones)
            and _explicit(record["zones"]) > disk.max_open
        ),
        ours=lambda disk, step, zones, record: (
            record.get("error") is None and _open_all_ours(zones, record)
        ),
        ends=True,
    ),
)
