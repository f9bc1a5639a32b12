"""Every exception of zoned. A broken rule raises the class named after it; the message is one
sentence with the numbers that matter. What turns a code of the core into one is
zoned._core.raising.
"""

from __future__ import annotations

from typing import Any

from zoned.geometry import GeometryError as GeometryError  # noqa: PLC0414 - it is one, too
from zoned.zone import ZoneCondition


class ZonedError(OSError):
    """A rule of zoned devices was broken, or a fault was injected. str() is one sentence.

    ``errno`` is what Linux's block layer gives: EIO, but ETOOMANYREFS for the open limit, EOVERFLOW
    for the active limit, ENODATA for a medium error on read, EOPNOTSUPP for an unsupported command.
    """

    rule: str = ""
    """Name of the rule, such as "unaligned-write"."""

    def __init__(
        self,
        errno: int,
        message: str,
        *,
        zone: int | None = None,
        offset: int | None = None,
        length: int = 0,
        wp: int | None = None,
        bound: int | None = None,
        condition: ZoneCondition | None = None,
        sense: tuple[int, int, int] | None = None,
        nvme_status: int | None = None,
        injected: bool = False,
        fault: int | None = None,
        rule: str | None = None,
    ) -> None:
        super().__init__(errno, message)
        if rule is not None:
            self.rule = rule
        self.zone = zone
        """Index of the zone concerned, None if there is none."""
        self.offset = offset
        """Where the command began, bytes."""
        self.length = length
        """How long it was, bytes."""
        self.wp = wp
        """The zone's write pointer at that moment, absolute; None where invalid."""
        self.bound = bound
        """What was crossed or exceeded: the end of a zone, a capacity, the end of the disk, a
        limit.
        """
        self.condition = condition
        """The zone's condition at that moment."""
        self.sense = sense
        """SCSI sense key, ASC, ASCQ (dialect zbc), else None."""
        self.nvme_status = nvme_status
        """NVMe status, SCT << 8 | SC (dialect zns), else None."""
        self.injected = injected
        """Whether a fault rule made this happen."""
        self.fault = fault
        """Which one."""

    def __str__(self) -> str:
        return str(self.strerror)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror), self.__dict__.copy()


class UnalignedWriteError(ZonedError):
    """A write that is not at the write pointer, or (512e) does not end on a physical block."""

    rule = "unaligned-write"


class WriteBoundaryError(ZonedError):
    """A write that crosses the zone's end, its capacity, or into zones of another type."""

    rule = "write-boundary"


class ReadBoundaryError(ZonedError):
    """A read that crosses zones where it may not.

    ``rule`` is "read-boundary", or "read-type-boundary" where the zones are of different types.
    """

    rule = "read-boundary"


class InvalidReadError(ZonedError):
    """A read that passes the write pointer of a disk with URSWRZ off."""

    rule = "invalid-read"


class ZoneFullError(ZonedError):
    """A write to a full zone."""

    rule = "zone-full"


class ZoneReadOnlyError(ZonedError):
    """A write or a zone command to a zone in condition READ_ONLY."""

    rule = "zone-read-only"


class ZoneOfflineError(ZonedError):
    """Any access to a zone in condition OFFLINE."""

    rule = "zone-offline"


class TooManyOpenError(ZonedError):
    """No open resource is left, and no implicitly open zone can be closed."""

    rule = "too-many-open"


class TooManyActiveError(ZonedError):
    """No active resource is left."""

    rule = "too-many-active"


class InvalidTransitionError(ZonedError):
    """The zone's condition does not allow this command."""

    rule = "invalid-transition"


class ConventionalZoneError(InvalidTransitionError):
    """A zone command or an append to a conventional zone."""

    rule = "conventional-zone"


class GapAccessError(ZonedError):
    """A command that starts between a zone's capacity and its end."""

    rule = "gap"


class OutOfRangeError(ZonedError, ValueError):
    """Beyond the end of the disk, or no such zone."""

    rule = "out-of-range"


class BlockAlignmentError(ZonedError, ValueError):
    """An offset or length that is no multiple of the logical block."""

    rule = "block-alignment"


class AppendLimitError(ZonedError):
    """An append longer than the append limit."""

    rule = "append-limit"


class UnsupportedCommandError(ZonedError):
    """The dialect has no such command."""

    rule = "unsupported-command"


class MediumError(ZonedError):
    """The medium fails to give or take the data."""

    rule = "medium-error"


class PowerLossError(ZonedError):
    """The emulated disk has no power."""

    rule = "power-loss"


class CommandTimeoutError(ZonedError, TimeoutError):
    """The command hung and timed out; only a fault makes that happen."""

    rule = "command-timeout"


class MiscompareError(ZonedError):
    """A compare found other bytes on the disk; ``bound`` is the first that differs."""

    rule = "miscompare"


class SequentialZoneError(ZonedError):
    """Write zeroes or deallocate addressed to a sequential zone."""

    rule = "sequential-zone"


class WriteAreaUnavailableError(ZonedError):
    """No random write area (ZRWA) is left, or the zone's write pointer is on no multiple of the
    granularity.
    """

    rule = "zrwa-unavailable"


class ZoneOperationError(ZonedError):
    """An append to a zone that has a random write area, or the disk's zones can have none."""

    rule = "invalid-zone-operation"


class OutsideWriteAreaError(ZonedError):
    """A write before the zone's random write area, or too far behind it."""

    rule = "outside-zrwa"


class CommitError(ZonedError):
    """An explicit commit of a zone without a random write area, or not in whole granules."""

    rule = "invalid-commit"


class ImageError(OSError):
    """Something is wrong with an image file; ``filename`` says which."""

    def __str__(self) -> str:
        where = f"{self.filename}: " if self.filename is not None else ""
        return f"{where}{self.strerror}"


class NotAnImageError(ImageError):
    """The file is no disk image of zoned."""


class ImageVersionError(ImageError):
    """The image has a format version that this zoned does not know."""


class ImageFeatureError(ImageError):
    """The image uses a feature that this zoned does not know."""


class ImageTruncatedError(ImageError):
    """The file ends before the image does."""


class ImageCorruptError(ImageError):
    """The image contradicts itself where no copy can help."""


class ImageFailedError(ImageError):
    """An earlier sync to the host's disk failed; the image needs ``zonedctl check --repair``."""


class ImageBusyError(ImageError):
    """The operation needs the disk to itself, and others have it open."""
