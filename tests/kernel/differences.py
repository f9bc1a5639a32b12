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

from kernel.finding import Finding
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

    def explains(self, finding: Finding) -> bool:
        """Whether the two records differ in this way, and in no other."""
        scenario, before = finding.scenario, finding.before
        if before is None:
            return False
        disk, zones, step = scenario.disk, before["zones"], scenario.steps[finding.at - 1]
        ours, theirs = finding.ours, finding.theirs
        return (
            self.kind == disk.kind
            and self.applies(disk, step, zones)
            and self.theirs(disk, step, zones, theirs)
            and self.ours(disk, step, zones, ours)
            and (self.ends or ours["zones"] == theirs["zones"])
        )


# ---------------------------------------------------------------- scsi_debug: reads in a gap


def _extent(step: Step) -> tuple[int, int]:
    """Offset and length of a read or write."""
    return step.arguments["at"], step.arguments["length"]


def _begins_in_gap(disk: Disk, step: Step, zones: list[str]) -> bool:
    if step.do != "read" or not 0 <= step.arguments["at"] < disk.size:
        return False
    at, length = _extent(step)
    zone = at // disk.zone_size
    return at >= disk.start(zone) + disk.capacity(zone) and at + length <= disk.size


def _gap_read_theirs(disk: Disk, step: Step, zones: list[str], record: Record) -> bool:
    at, length = _extent(step)
    last = (at + length - 1) // disk.zone_size
    if at + length - 1 < disk.start(last) + disk.capacity(last):  # ends in a zone that is no gap
        return record.get("error") == "5/21/06"
    return bool(record["result"] == length)


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


def _explicit(zones: list[str]) -> int:
    return sum(zone.startswith("oe") for zone in zones)


def _closed(zones: list[str]) -> int:
    return sum(zone.startswith("cl") for zone in zones)


def _open_all_ours(zones: list[str], record: Record) -> bool:
    """What was closed is open, what was open explicitly still is, and no other zone was opened."""
    pairs = list(zip(zones, record["zones"], strict=True))
    return all((now[:2] == "oe") == (was[:2] in ("cl", "oe")) for was, now in pairs)


# ---------------------------------------------------------------- scsi_debug: host-aware


def _crosses_type(disk: Disk, step: Step, zones: list[str]) -> bool:
    if disk.model != "host-aware" or step.do != "read" or step.arguments["length"] == 0:
        return False
    first, length = _extent(step)
    last = first + length - 1
    if last >= disk.size or _begins_in_gap(disk, step, zones):
        return False
    return _type(disk, first) != _type(disk, last)


def _type(disk: Disk, at: int) -> str:
    zone = at // disk.zone_size
    if zone < disk.conventional:
        return "conventional"
    return "gap" if at >= disk.start(zone) + disk.capacity(zone) else "sequential"


def _pieces(disk: Disk, step: Step) -> list[tuple[int, int, int]]:
    """A write in pieces, without what falls into gaps: zone, first and last byte from the zone's start."""
    at, length = _extent(step)
    end = at + length
    pieces = []
    while at < end:
        zone = at // disk.zone_size
        start = disk.start(zone)
        to = min(end, start + disk.zone_size)
        pieces.append((zone, at - start, min(to - start, disk.capacity(zone))))
        at = to
    return pieces


def _preferred_write(disk: Disk, step: Step) -> bool:
    """A host-aware write that begins within the capacity of a sequential zone and ends on the disk."""
    if disk.model != "host-aware" or step.do != "write" or step.arguments["length"] == 0:
        return False
    at, length = _extent(step)
    zone = at // disk.zone_size
    return (
        zone >= disk.conventional
        and at < disk.start(zone) + disk.capacity(zone)
        and at + length <= disk.size
    )


def _into_gap(disk: Disk, step: Step, zones: list[str]) -> bool:
    if not _preferred_write(disk, step):
        return False
    at, length = _extent(step)
    zone = at // disk.zone_size
    return at + length > disk.start(zone) + disk.capacity(zone) and not _whole(disk, zone)


def _crosses_zones(disk: Disk, step: Step, zones: list[str]) -> bool:
    if not _preferred_write(disk, step) or _into_gap(disk, step, zones):
        return False
    if disk.zone_capacity < disk.zone_size:
        return False
    return _written(disk, step, zones, opens_all=True) != _written(
        disk, step, zones, opens_all=False
    )


def _whole(disk: Disk, zone: int) -> bool:
    """Whether a zone has no gap."""
    return disk.capacity(zone) == min(disk.zone_size, disk.size - disk.start(zone))


def _wrote(record: Record, step: Step, zones: list[str]) -> bool:
    """Whether all was written, and left the zones so."""
    return bool(record["result"] == step.arguments["length"] and record["zones"] == zones)


def _written(disk: Disk, step: Step, zones: list[str], *, opens_all: bool) -> list[str]:
    """zbc_inc_wp(): write pointers move in every zone; the condition changes in the first one, or to FULL."""
    now = list(zones)
    for number, (zone, first, last) in enumerate(_pieces(disk, step)):
        capacity = disk.capacity(zone)
        condition, _, rest = now[zone].partition(":")
        wp, _, flag = rest.partition("+")
        if condition.startswith("fu"):
            flag, pointer, condition = condition[3:], capacity, "fu"
        else:
            pointer = int(wp)
            if condition in ("em", "cl") and (number == 0 or opens_all):
                condition = "oi"
        if first != pointer:
            flag = "non_seq"
        pointer = max(pointer, last)
        if pointer >= capacity:
            condition = "fu"
        text = condition if condition == "fu" else f"{condition}:{pointer}"
        now[zone] = text + (f"+{flag}" if flag else "")
    return now


# ---------------------------------------------------------------- the list


def diverges(disk: Disk, step: Step, zones: list[str]) -> bool:
    """Whether the disks part at this step, so that a scenario had better not go there."""
    return any(
        known.ends and known.kind == disk.kind and known.applies(disk, step, zones)
        for known in KNOWN
    )


KNOWN: tuple[Difference, ...] = (
    Difference(
        name="scsi_debug-read-in-gap",
        kind="scsi_debug",
        cause=(
            "ZBC-2: a read of a gap zone ends with ILLEGAL REQUEST, ATTEMPT TO ACCESS GAP ZONE (21 09). "
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
            "ZBC-2: OPEN ZONE with ALL opens the zones that are closed when it comes, or none if there are "
            "too few resources. scsi_debug also opens a zone that it closed itself to make room, if it lies "
            "behind, and so has more zones explicitly open than its own limit."
        ),
        applies=lambda disk, step, zones: (
            step.do == "open_all"
            and bool(disk.max_open)
            and _explicit(zones) + _closed(zones) <= disk.max_open
            and _explicit(_open_all_walk(disk, zones)) > disk.max_open
        ),
        theirs=lambda disk, step, zones, record: (
            record["result"] == 0 and record["zones"] == _open_all_walk(disk, zones)
        ),
        ours=lambda disk, step, zones, record: (
            record.get("error") is None and _open_all_ours(zones, record)
        ),
        ends=True,
    ),
    Difference(
        name="scsi_debug-aware-read-across-types",
        kind="scsi_debug",
        cause=(
            "Reads may not cross zone types on a host-managed disk; a host-aware one has no such rule. In older "
            "kernels check_zbc_access_params() lets every read of a host-aware disk pass; that line went with the "
            "block layer's host-aware model, while the comment still says: for host-managed."
        ),
        applies=_crosses_type,
        theirs=lambda disk, step, zones, record: record.get("error") == "5/21/06",
        ours=lambda disk, step, zones, record: record["result"] == step.arguments["length"],
    ),
    Difference(
        name="scsi_debug-aware-write-across-zones",
        kind="scsi_debug",
        cause=(
            "A write into an EMPTY or CLOSED sequential zone opens it (ZBC-2). scsi_debug opens the zone "
            "that a write begins in; those that it goes on into get a write pointer and stay EMPTY or CLOSED."
        ),
        applies=_crosses_zones,
        theirs=lambda disk, step, zones, record: _wrote(
            record, step, _written(disk, step, zones, opens_all=False)
        ),
        ours=lambda disk, step, zones, record: _wrote(
            record, step, _written(disk, step, zones, opens_all=True)
        ),
        ends=True,
    ),
    Difference(
        name="scsi_debug-aware-write-into-gap",
        kind="scsi_debug",
        cause=(
            "No write may end in a gap zone (ZBC-2; the check's own comment: writing into a gap zone is "
            "not allowed). For sequential write preferred zones check_zbc_access_params() looks at the zone that a "
            "write begins in, and lets it go on into the gap behind the capacity."
        ),
        applies=_into_gap,
        theirs=lambda disk, step, zones, record: _wrote(
            record, step, _written(disk, step, zones, opens_all=False)
        ),
        ours=lambda disk, step, zones, record: (
            record.get("error") == "5/21/05" and record["zones"] == zones
        ),
        ends=True,
    ),
)
