"""A disk and its commands: ``create``, ``open``, ``memory`` and the Device that they give.

The data calls come from the C type ``Core`` that Device derives from; every other call goes through
cffi under a Guard, so that close() waits for it. Which exception a code becomes is decided in
zoned.errors.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, SupportsIndex, Unpack
from uuid import UUID

from zoned import openers
from zoned._core.conversions import config_of, limits_of, named, path_bytes
from zoned._core.handle import adopt, opened, zone_number
from zoned._core.looking import report_rows
from zoned._core.native import Guard, ffi, lib, sized
from zoned._core.raising import bad_number, rule_name
from zoned.counters import Counters, ZoneCounters
from zoned.crash.choices import CrashStates, Strategy
from zoned.drives.clock import Clock
from zoned.drives.clock import State as ClockState
from zoned.errors import ImageBusyError
from zoned.faults import Faults, Keep, keep_number
from zoned.geometry import Geometry
from zoned.info import DiskInfo, Pace
from zoned.keywords import GeometryKeywords, resolve_keywords
from zoned.report import Conditions, Report, conditions_of
from zoned.snapshots import Snapshot
from zoned.traces.recording import DeviceTrace
from zoned.traces.recording import State as RecordingState
from zoned.zonecommands import ZoneCommands

if TYPE_CHECKING:
    from zoned.drives.pace import Drive

_COUNTER_ROW = struct.Struct("=13Q")  # struct zd_zone_counters
_COUNTER_NAMES = tuple(field.name for field in dataclasses.fields(ZoneCounters))
_BATCH = 1024


class Device(ZoneCommands):
    """One handle on an emulated zoned disk. Made by ``create``, ``open`` and ``memory``.

    All offsets and lengths are bytes, zones are named by index. Any number of threads may use a
    Device; any number of processes may open one disk. Use it as a context manager, or call close().
    """

    __slots__ = ("_clock", "_drive", "_recording")

    def __init__(self) -> None:
        """Not for users: the owner of a handle that is yet to be made, see adopt."""
        super().__init__()
        self._clock = ClockState()
        self._drive: Drive | None = None
        """The one whose time its commands take for real."""
        self._recording = RecordingState()

    @property
    def clock(self) -> Clock:
        """How long this handle's commands would take on a modelled drive; off until
        ``dev.clock.start("hc620")``.
        """
        return Clock(self, self._clock)

    # ------------------------------------------------------------ failing on purpose

    @property
    def faults(self) -> Faults:
        """The disk's fault rules: ``dev.faults.add("medium", on="write", zones=3)``."""
        return Faults(self)

    @property
    def trace(self) -> DeviceTrace:
        """Recording commands: ``with dev.trace.record("x.trace"):``, ``dev.trace.last(20)``."""
        return DeviceTrace(self, self._recording)

    def power_cut(
        self, keep: Keep | str = Keep.DURABLE, seed: int = 0, *, choice: str | None = None
    ) -> None:
        """Take the power away, for all openers: every command fails (PowerLossError) until
        power_on().

        ``keep`` says what survives of the data that was written but not flushed: "durable"
        (nothing), "all", or "random" (each sequential zone up to a block, and each overwritten
        block of a conventional or preferred zone or not, drawn from ``seed``). ``choice`` is the id
        of one of crash_states(): exactly that one survives. Management commands that returned stay
        done. Open zones become closed, or empty.

        Raises CrashIdError for an id of another disk or of another state of this one, ValueError
        for a choice together with a keep.
        """
        number, start = keep_number(keep), operator.index(seed) % 2**64
        if choice is None:
            self._call(lib.zd_power_cut, number, start)
            return
        if number != keep_number(Keep.DURABLE) or start:
            raise ValueError(
                "a choice says all about what survives: no keep and no seed goes with it"
            )
        with self.snapshot() as snapshot:
            # The limit is one on looking at survivors, and this looks at none.
            states = CrashStates(snapshot, Strategy.RANDOM, limit=1)
        cut, _keep = states.cut_of(choice)
        states.close()
        self._call(lib.zd_power_cut_to, cut)

    @property
    def power_tracking(self) -> bool:
        """Whether the disk remembers what blocks of conventional and preferred zones held at the
        last flush, so that a power cut can take any of their newer contents away. For all openers.

        On by default; False for disks that have no such zones or keep no data. It costs a copy of
        each block with its first write after a flush. Switched off, all that was written there
        survives.
        """
        return bool(self._call(lib.zd_power_tracked))

    @power_tracking.setter
    def power_tracking(self, on: bool) -> None:
        self._call(lib.zd_power_track, bool(on))

    def power_on(self) -> None:
        """Give the power back. Nothing happens if it is on."""
        self._call(lib.zd_power_on)

    @property
    def powered(self) -> bool:
        """Whether the emulated disk has power."""
        return bool(self._call(lib.zd_power))

    # ------------------------------------------------------------ snapshots

    def snapshot(self) -> Snapshot:
        """The whole disk at this moment, without copying its data.

        It keeps the disk open until it is closed (or garbage). It belongs to this process.
        """
        return Snapshot.take(self, Device)

    def rollback(self, snapshot: Snapshot) -> None:
        """Make the disk what it was at the snapshot, for all openers. The snapshot stays.

        Raises ValueError for a snapshot of another disk, or one that was closed.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"snapshot must be a zoned.Snapshot, not {type(snapshot).__name__}")
        snapshot.put_back(self)

    def fork(self) -> Device:
        """A disk of its own in RAM that begins as this one is now; neither sees what the other does
        from here on. No data is copied: it reads this disk's, which is kept for it, and a fork of
        the fork does so too. Where forks of forks each have data that the last one reads, each of
        these disks takes a file descriptor, closed or not. Raises OSError.
        """
        with self.snapshot() as snapshot:
            return snapshot.fork()

    def crash_states(
        self,
        strategy: Strategy | str = Strategy.LINEAR,
        *,
        limit: int = 10_000,
        seed: int = 0,
    ) -> CrashStates:
        """What a power cut now could leave behind: disks of their own, cheap, one after the other.

        Ask ``.count`` for how many there are; raises CrashSpaceError where that is more than
        ``limit``. See zoned.crash.choices. A read-only handle keeps nothing for them, so they can
        be counted and named, not made; BlockingIOError where the disk does not hold still for it.
        """
        if self._readonly:
            return CrashStates.seen_by(self, strategy, limit=limit, seed=seed)
        with self.snapshot() as snapshot:
            return CrashStates(snapshot, strategy, limit=limit, seed=seed)

    @property
    def crash_id(self) -> str | None:
        """Of a crash survivor: what rebuilds exactly this one (CrashStates.rebuild)."""
        return self._crash_id

    # ------------------------------------------------------------ looking

    @property
    def zones(self) -> Report:
        """All zones: ``dev.zones[3]``, ``dev.zones[-1]``, ``len(dev.zones)``, iteration."""
        return self.report()

    def report(
        self, start: int = 0, count: int | None = None, condition: Conditions | None = None
    ) -> Report:
        """Zones from index start on (count of them, or all), if wanted only those in some
        conditions.

        ``condition`` is a ZoneCondition, its name or short form, or several of them. A count that
        passes the last zone ends there. Raises OutOfRangeError for a start or count that is
        negative or a start beyond the last zone, ValueError for an unknown condition.
        """
        nr_zones = self._geometry.nr_zones
        first = operator.index(start)
        if not 0 <= first <= nr_zones:
            raise bad_number(self, "zone", first)
        rest = nr_zones - first
        if count is not None:
            wanted = operator.index(count)
            if wanted < 0:
                raise bad_number(self, "count", wanted)
            rest = min(rest, wanted)
        conditions = None if condition is None else conditions_of(condition)
        return Report(functools.partial(report_rows, self), first, rest, conditions)

    def write_area(self, zone: SupportsIndex) -> range | None:
        """The zone's random write area; None where it has none. It begins at the write pointer,
        and up to its end, as far as something was ever written there, reads give data, or zeros
        where nothing was; ``range.stop`` is behind the last written byte.

        Each block that was written there since the last flush survives a power cut or not by
        itself, as in a conventional zone. Raises OutOfRangeError, PowerLossError.
        """
        index = zone_number(self, "zone", zone)
        filled = ffi.new("uint64_t *")
        if not self._call(lib.zd_zone_zrwa, index, filled):
            return None
        wp = self.zones[index].wp
        return None if wp is None else range(wp, max(wp, filled[0]))

    @property
    def counters(self) -> Counters:
        """What was done since creation or the host's last boot; ``.zone(i)`` for one zone."""
        raw = sized("struct zd_counters")
        self._call(lib.zd_counters, raw)
        errors: dict[str, int] = {}
        for at, count in enumerate(raw.errors_by_rule[0 : lib.ZD_NR_RULES]):
            name = rule_name(lib.ZD_E_FIRST_RULE - at)
            errors[name] = errors.get(name, 0) + count
        row = _COUNTER_ROW.unpack(ffi.buffer(ffi.addressof(raw.zones)))
        totals = dict(zip(_COUNTER_NAMES[:-1], row[:-1], strict=True))
        return Counters(
            **totals,
            flushes=raw.flushes,
            errors=errors,
            max_open_seen=raw.max_open_seen,
            max_active_seen=raw.max_active_seen,
            _source=self,
        )

    @property
    def openers(self) -> openers.Openers:
        """Which processes have the disk open; ``.hidden`` counts those that cannot be seen."""
        with Guard(self):
            return openers.scan(lib.zd_fd(self._handle))

    @property
    def pace(self) -> str:
        """The drive whose time this handle's commands take for real; "none": no drive's."""
        return str(Pace.NONE) if self._drive is None else self._drive[0]

    def info(self) -> DiskInfo:
        """Identity, geometry, limits and space used, now."""
        raw = self._info()
        with Guard(self):
            blocks = os.fstat(lib.zd_fd(self._handle)).st_blocks
        return DiskInfo(
            path=self._path,
            uuid=self._uuid,
            created=datetime.fromtimestamp(raw.created, UTC),
            profile=self._geometry.profile,
            pace=str(Pace.REAL if self._paced else Pace.NONE),
            version=raw.version,
            features=raw.features,
            geometry=self._geometry,
            limits=limits_of(raw),
            readonly=self._readonly,
            in_ram=bool(raw.in_ram),
            clean=bool(raw.clean),
            failed=bool(raw.failed),
            cow_host=bool(raw.cow_host),
            file_blocks=blocks * 512,
            **named(raw, "slot_size slots_used slots_free slots_pending slots_total"),
            **named(raw, "table_offset runtime_offset data_offset file_size"),
        )

    # ------------------------------------------------------------ life

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles by reopening: the path, or a RAM disk through this process's descriptor while it
        lives.
        """
        path = self._path
        if self._origin is not None:
            raise TypeError("a fork of a disk belongs to its process and cannot be pickled")
        if path is None:
            with Guard(self):
                path = f"/proc/{os.getpid()}/fd/{lib.zd_fd(self._handle)}"
        elif self.closed:
            raise ValueError("the device is closed")
        return _reopen, (path, self._readonly, self._uuid, self._drive)

    def __repr__(self) -> str:
        name = "in RAM" if self._path is None else repr(self._path)
        if self.closed:
            return f"<zoned.Device {name}, closed>"
        mode = ", read-only" if self._readonly else ""
        return f"<zoned.Device {name}, {self._geometry.describe()}{mode}>"

    # ------------------------------------------------------------ inside

    def _at_pace(self, pace: Pace | str | os.PathLike[str] | None) -> Device:
        """This disk, just opened, with the pace that is asked for, or (None) that it was made with;
        closed where it cannot be had.
        """
        if pace is None:
            pace = Pace.REAL if self._paced else Pace.NONE
        if os.fspath(pace) == Pace.NONE:
            return self
        from zoned.drives.pace import drive_named

        try:
            drive = drive_named(self, pace)
        except BaseException:
            self.close()
            raise
        return self._timed_as(drive)

    def _timed_as(self, drive: Drive | None) -> Device:
        """This disk, whose commands take the time of a drive (None: of none) from now on; closed
        where they cannot.
        """
        if drive is not None:
            from zoned.drives.pace import begin

            try:
                begin(self, drive)
                self._drive = drive
            except BaseException:
                self.close()
                raise
        return self

    def zone_counters(self, start: int, count: int | None) -> Iterator[ZoneCounters]:
        """Counts of ``count`` zones from ``start`` on (None: to the last), streamed; what
        ``dev.counters.zones()`` gives.

        Raises OutOfRangeError.
        """
        nr_zones = self._geometry.nr_zones
        first = self._number("zone", start)
        wanted = nr_zones - first if count is None else operator.index(count)
        if first >= nr_zones:
            raise bad_number(self, "zone", first)
        if not 0 <= wanted <= nr_zones - first:
            raise bad_number(self, "count", wanted)
        return self._stream_counters(first, first + wanted)

    def _stream_counters(self, at: int, end: int) -> Iterator[ZoneCounters]:
        while at < end:
            size = min(_BATCH, end - at)
            rows = ffi.new("struct zd_zone_counters[]", size)
            self._call(lib.zd_zone_counters, at, size, rows)
            for row in _COUNTER_ROW.iter_unpack(ffi.buffer(rows)):
                yield ZoneCounters(**dict(zip(_COUNTER_NAMES, row, strict=True)))
            at += size


def create(
    path: str | os.PathLike[str],
    *,
    profile: str | os.PathLike[str] | None = None,
    replace: bool = False,
    pace: Pace | str = Pace.NONE,
    **keywords: Unpack[GeometryKeywords],
) -> Device:
    """Make a disk in a file and open it.

    ``profile`` names a built-in profile or a ``.toml`` file; keywords (see GeometryKeywords)
    override it. Without a profile, ``test`` lies under the keywords, and what of it does not fit
    beside them gives way. An existing file is refused (FileExistsError) unless ``replace``; then
    the new one gets its permissions, and ImageBusyError names who has it open for writing, or where
    it is mounted.

    ``pace="real"``: commands take the time of the profile's drive for real, through this handle and
    those that ``open`` gives; only with a built-in profile that has a model (all but ``test``).

    Raises GeometryError, ProfileError, OSError (no space, no permission, no such folder),
    ValueError for an unknown pace.
    """
    name = os.fsdecode(path)
    geometry = resolve_keywords(profile, keywords)
    drive = _drive_of(profile, geometry, pace, kept=True)
    if replace and os.path.isfile(name):
        openers.refuse_used(name)
    try:
        device = create_from(name, geometry, replace=replace, paced=drive is not None)
    except ImageBusyError:
        raise openers.busy(name) from None
    return device._timed_as(drive)


def memory(
    *,
    profile: str | os.PathLike[str] | None = None,
    pace: Pace | str = Pace.NONE,
    **keywords: Unpack[GeometryKeywords],
) -> Device:
    """Make a disk in RAM: same keywords as ``create``. It is gone when its last handle closes.

    With ``pace="real"`` the profile may be a file of your own.
    """
    geometry = resolve_keywords(profile, keywords)
    drive = _drive_of(profile, geometry, pace, kept=False)
    return create_from(None, geometry, replace=False, paced=drive is not None)._timed_as(drive)


def open(  # noqa: A001
    path: str | os.PathLike[str],
    *,
    readonly: bool = False,
    pace: Pace | str | os.PathLike[str] | None = None,
) -> Device:
    """Open a disk in a file. Others may have it open too.

    ``pace`` says whose time this handle's commands take for real: "none", "real" (the drive of the
    disk's profile), or another drive, by name or as a ``.toml`` file; without it, as the disk was
    made.

    Raises NotAnImageError, ImageVersionError, ImageFeatureError, ImageTruncatedError,
    ImageCorruptError, ImageFailedError, and OSError from the host (FileNotFoundError,
    PermissionError, ...); for a pace that cannot be had ProfileError and GeometryError.
    """
    given = os.fsdecode(path)
    name = path_bytes(os.path.abspath(given))
    device = adopt(given, lambda out, err: opened(name, readonly, out, err), Device)
    return device._at_pace(pace)


def _drive_of(
    profile: str | os.PathLike[str] | None, geometry: Geometry, pace: Pace | str, *, kept: bool
) -> Drive | None:
    """The drive of a disk that is to be made with ``pace``."""
    if pace not in tuple(Pace):
        raise ValueError(f"pace={pace!r}: it must be 'none' or 'real'")
    if pace == Pace.NONE:
        return None
    from zoned.drives.pace import drive_of

    return drive_of(profile, geometry, kept=kept)


def create_from(
    path: str | None,
    geometry: Geometry,
    *,
    replace: bool,
    kind: type[Device] | None = None,
    paced: bool = False,
) -> Device:
    """A new disk of this geometry, in a file or (None) in RAM; ``kind``: of a class of its own;
    ``paced``: remembers that its openers are to take a drive's time, and begins nothing.
    """
    config, _keep = config_of(geometry, paced=paced)
    flags = lib.ZD_CREATE_REPLACE if replace else 0
    name = ffi.NULL if path is None else path_bytes(os.path.abspath(path))
    return adopt(
        path, lambda out, err: lib.zd_create(name, config, flags, out, err), kind or Device
    )


def another(image: str | os.PathLike[str] | Device, *, readonly: bool = False) -> Device:
    """A handle of one's own on the disk of a path or of somebody else's handle; read-only if that
    is, or if asked for.

    Raises what ``open`` raises, and TypeError for a fork, which has nothing to open it by.
    """
    if not isinstance(image, Device):
        return open(image, readonly=readonly)
    readonly = readonly or image.readonly
    if image.path is not None:
        return open(image.path, readonly=readonly)
    try:
        _, (path, _, *rest) = image.__reduce__()  # by this process's descriptor of the RAM disk
    except TypeError:
        raise TypeError(
            "a fork of a disk has no second handle, which exports and mounts need: give a copy of"
            " it (zoned.archive.copy)"
        ) from None
    return _reopen(path, readonly, *rest)


def _reopen(path: str, readonly: bool, uuid: UUID, drive: Drive | None) -> Device:
    """What a pickled Device becomes."""
    in_ram = path.startswith("/proc/")
    try:
        device = adopt(
            None if in_ram else path,
            lambda out, err: opened(path_bytes(path), readonly, out, err),
            Device,
        )
    except FileNotFoundError as exc:
        if not in_ram:
            raise
        raise FileNotFoundError(
            exc.errno, "the RAM disk is gone: the process that pickled it ended or closed it"
        ) from None
    if device.uuid != uuid:
        found = device.uuid
        device.close()
        raise ValueError(f"{path} is another disk now: {found}, and {uuid} was pickled")
    return device._timed_as(drive)
