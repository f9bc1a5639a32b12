"""Errors: each rule raises its class, with everything in it that a caller needs, in one sentence."""

from __future__ import annotations

import copy
import errno
import io
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
from zoned._core import raising
from zoned._core.native import ffi, lib
from zoned.zone import ZoneCondition

KIB = 1 << 10
ZONE = 64 * KIB
BLOCK = bytes(4096)


def disk(**keywords: Any) -> zoned.Device:
    """16 zones of 64 KiB, the first two conventional (none in zns)."""
    return zoned.memory(**({"size": 16 * ZONE, "zone_size": ZONE, "max_open": 4} | keywords))


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    with disk() as device:
        yield device


def unaligned(dev: zoned.Device) -> None:
    dev.pwrite(BLOCK * 2, 7 * ZONE)
    dev.pwrite(BLOCK, 7 * ZONE + 12288)


def boundary(dev: zoned.Device) -> None:
    dev.pwrite(bytes(ZONE + 4096), 7 * ZONE)


def full(dev: zoned.Device) -> None:
    dev.finish_zone(7)
    dev.pwrite(BLOCK, 7 * ZONE)


def read_only(dev: zoned.Device) -> None:
    dev.set_condition(7, "read-only")
    dev.pwrite(BLOCK, 7 * ZONE)


def offline(dev: zoned.Device) -> None:
    dev.set_condition(7, "offline")
    dev.pread(4096, 7 * ZONE)


def too_many_open(dev: zoned.Device) -> None:
    dev.open_zone(3, 4)
    dev.open_zone(7)


def conventional(dev: zoned.Device) -> None:
    dev.reset_zone(1)


def read_type(dev: zoned.Device) -> None:
    dev.pread(8192, 2 * ZONE - 4096)


def beyond(dev: zoned.Device) -> None:
    dev.pread(8192, 16 * ZONE - 4096)


def no_zone(dev: zoned.Device) -> None:
    dev.finish_zone(16)


def alignment(dev: zoned.Device) -> None:
    dev.pread(100, 7 * ZONE)


ZBC: list[tuple[Callable[[zoned.Device], None], type[zoned.ZonedError], str, dict[str, Any]]] = [
    (
        unaligned,
        zoned.UnalignedWriteError,
        f"write at {7 * ZONE + 12288} in zone 7 is not at its write pointer {7 * ZONE + 8192}",
        {
            "rule": "unaligned-write",
            "zone": 7,
            "offset": 7 * ZONE + 12288,
            "length": 4096,
            "wp": 7 * ZONE + 8192,
            "condition": ZoneCondition.IMPLICIT_OPEN,
            "sense": (5, 0x21, 4),
            "errno": errno.EIO,
        },
    ),
    (
        boundary,
        zoned.WriteBoundaryError,
        f"write of {ZONE + 4096} bytes at {7 * ZONE} in zone 7 crosses the end of the zone at {8 * ZONE}",
        {"rule": "write-boundary", "zone": 7, "sense": (5, 0x21, 5), "errno": errno.EIO},
    ),
    (
        full,
        zoned.ZoneFullError,
        f"write at {7 * ZONE} in zone 7 is refused: the zone is full; reset it before writing to it again",
        {
            "rule": "zone-full",
            "zone": 7,
            "wp": None,
            "condition": ZoneCondition.FULL,
            "sense": (5, 0x24, 0),
            "errno": errno.EIO,
        },
    ),
    (
        read_only,
        zoned.ZoneReadOnlyError,
        f"write at {7 * ZONE} in zone 7 is refused: the zone is read-only",
        {
            "rule": "zone-read-only",
            "condition": ZoneCondition.READ_ONLY,
            "sense": (7, 0x27, 8),
            "errno": errno.EIO,
        },
    ),
    (
        offline,
        zoned.ZoneOfflineError,
        f"read at {7 * ZONE} in zone 7 is refused: the zone is offline, its data is lost",
        {
            "rule": "zone-offline",
            "condition": ZoneCondition.OFFLINE,
            "sense": (7, 0x2C, 0x0E),
            "errno": errno.EIO,
        },
    ),
    (
        too_many_open,
        zoned.TooManyOpenError,
        (
            "open of zone 7 needs one more open zone: 4 are open (0 implicitly, 4 explicitly) and at "
            "most 4 may be; close, finish or reset one of them"
        ),
        {
            "rule": "too-many-open",
            "zone": 7,
            "bound": 4,
            "sense": (7, 0x55, 0x0E),
            "errno": errno.ETOOMANYREFS,
        },
    ),
    (
        conventional,
        zoned.ConventionalZoneError,
        "reset of zone 1 is refused: the zone is conventional and has no write pointer",
        {
            "rule": "conventional-zone",
            "zone": 1,
            "condition": ZoneCondition.NOT_WP,
            "sense": (5, 0x24, 0),
        },
    ),
    (
        read_type,
        zoned.ReadBoundaryError,
        (
            f"read of 8192 bytes at {2 * ZONE - 4096} in zone 1 crosses {2 * ZONE}, where another type of "
            "zone or a gap begins, and a host-managed disk does not read across that"
        ),
        {"rule": "read-type-boundary", "zone": 1, "bound": 2 * ZONE, "errno": errno.EIO},
    ),
    (
        beyond,
        zoned.OutOfRangeError,
        f"read of 8192 bytes at {16 * ZONE - 4096} in zone 15 passes the end of the disk at {16 * ZONE}",
        {"rule": "out-of-range", "offset": 16 * ZONE - 4096, "sense": (5, 0x21, 0)},
    ),
    (
        no_zone,
        zoned.OutOfRangeError,
        "zone 16 does not exist: the disk has zones 0 to 15",
        {"rule": "out-of-range", "zone": 16, "offset": None, "bound": 16},
    ),
    (
        alignment,
        zoned.BlockAlignmentError,
        (
            f"read of 100 bytes at {7 * ZONE} in zone 7 is not in whole blocks: offset and length must be "
            "multiples of the logical block, 4096"
        ),
        {"rule": "block-alignment", "length": 100},
    ),
]


@pytest.mark.parametrize(
    ("act", "kind", "sentence", "details"), ZBC, ids=[r[0].__name__ for r in ZBC]
)
def test_each_rule_in_zbc(
    dev: zoned.Device,
    act: Callable[[zoned.Device], None],
    kind: type[zoned.ZonedError],
    sentence: str,
    details: dict[str, Any],
) -> None:
    with pytest.raises(zoned.ZonedError) as caught:
        act(dev)
    error = caught.value
    assert type(error) is kind
    assert str(error) == sentence
    assert isinstance(error, OSError)
    assert {name: getattr(error, name) for name in details} == details
    assert error.nvme_status is None
    assert error.injected is False
    assert error.fault is None
    assert dev.counters.errors[error.rule] == 1


@pytest.mark.parametrize(
    ("act", "kind", "status"),
    [
        (unaligned, zoned.UnalignedWriteError, 0x1BC),
        (boundary, zoned.WriteBoundaryError, 0x1B8),
        (full, zoned.ZoneFullError, 0x1B9),
        (read_only, zoned.ZoneReadOnlyError, 0x1BA),
        (offline, zoned.ZoneOfflineError, 0x1BB),
        (too_many_open, zoned.TooManyOpenError, 0x1BE),
        (lambda dev: dev.close_zone(7), zoned.InvalidTransitionError, 0x1BF),
    ],
)
def test_each_rule_in_zns(
    act: Callable[[zoned.Device], None], kind: type[zoned.ZonedError], status: int
) -> None:
    with disk(dialect="zns") as dev:
        with pytest.raises(zoned.ZonedError) as caught:
            act(dev)
        assert type(caught.value) is kind
        assert caught.value.nvme_status == status
        assert caught.value.sense is None


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (unaligned, zoned.UnalignedWriteError),
        (full, zoned.ZoneFullError),
        (offline, zoned.ZoneOfflineError),
        (too_many_open, zoned.TooManyOpenError),
    ],
)
def test_null_blk_has_neither_sense_nor_status(
    act: Callable[[zoned.Device], None], kind: type[zoned.ZonedError]
) -> None:
    with disk(dialect="nullblk") as dev:
        with pytest.raises(zoned.ZonedError) as caught:
            act(dev)
        assert type(caught.value) is kind
        assert (caught.value.sense, caught.value.nvme_status) == (None, None)


def test_active_limit() -> None:
    with disk(dialect="zns", max_open=2, max_active=3) as dev:
        for zone in (2, 3, 4):
            dev.append(zone, BLOCK)
        with pytest.raises(zoned.TooManyActiveError) as caught:
            dev.append(5, BLOCK)
    assert str(caught.value) == (
        "append to zone 5 needs one more active zone: 3 are active (2 open, 1 closed) and at most 3 "
        "may be; finish or reset one of them"
    )
    assert caught.value.errno == errno.EOVERFLOW
    assert caught.value.nvme_status == 0x1BD


def test_capacity_gap_and_append_limit() -> None:
    with disk(zone_capacity=48 * KIB, append_limit=8 * KIB) as dev:
        with pytest.raises(zoned.WriteBoundaryError) as caught:
            dev.pwrite(bytes(52 * KIB), 3 * ZONE)
        assert str(caught.value) == (
            f"write of {52 * KIB} bytes at {3 * ZONE} in zone 3 passes the zone's capacity, "
            f"which ends at {3 * ZONE + 48 * KIB}"
        )
        with pytest.raises(zoned.GapAccessError) as gap:
            dev.pread(4096, 3 * ZONE + 48 * KIB)
        assert str(gap.value) == (
            f"read at {3 * ZONE + 48 * KIB} in zone 3 starts in the gap between the zone's capacity, "
            f"which ends at {3 * ZONE + 48 * KIB}, and its end at {4 * ZONE}"
        )
        assert gap.value.sense == (5, 0x21, 9)
        with pytest.raises(zoned.AppendLimitError) as limit:
            dev.append(3, bytes(12 * KIB))
        assert str(limit.value) == (
            f"append of {12 * KIB} bytes to zone 3 is longer than the append limit, {8 * KIB}"
        )


def test_physical_block() -> None:
    small = disk(logical_block=512, physical_block=4096)
    with small as dev, pytest.raises(zoned.UnalignedWriteError) as caught:
        dev.pwrite(bytes(512), 3 * ZONE)
    assert str(caught.value) == (
        f"write of 512 bytes at {3 * ZONE} in zone 3 does not end on a physical block: length must be "
        "a multiple of 4096"
    )


def test_restricted_reads() -> None:
    with disk(unrestricted_read=False) as dev:
        dev.pwrite(BLOCK, 3 * ZONE)
        with pytest.raises(zoned.InvalidReadError) as invalid:
            dev.pread(8192, 3 * ZONE)
        assert str(invalid.value) == (
            f"read of 8192 bytes at {3 * ZONE} in zone 3 passes its write pointer {3 * ZONE + 4096}, "
            "and this disk reads only what was written"
        )
        dev.finish_zone(3)
        with pytest.raises(zoned.ReadBoundaryError) as across:
            dev.pread(8192, 4 * ZONE - 4096)
        assert across.value.rule == "read-boundary"
        assert str(across.value) == (
            f"read of 8192 bytes at {4 * ZONE - 4096} in zone 3 crosses the end of the zone at "
            f"{4 * ZONE}, and this disk does not read across zones"
        )


def test_an_offline_zone_behind_the_first_is_named() -> None:
    with disk() as dev:
        dev.set_condition(4, "offline")
        with pytest.raises(zoned.ZoneOfflineError) as caught:
            dev.pread(8192, 4 * ZONE - 4096)
    assert caught.value.zone == 4
    assert str(caught.value) == (
        f"read at {4 * ZONE - 4096} in zone 3 is refused: zone 4 is offline, its data is lost"
    )


def test_unsupported_command() -> None:
    with disk(dialect="nullblk") as dev, pytest.raises(zoned.UnsupportedCommandError) as caught:
        dev.finish_all()
    assert str(caught.value) == (
        "finish of all zones is refused: dialect nullblk has no such command"
    )
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda dev: dev.pread(-4096, 0), "length is -4096: it must not be negative"),
        (lambda dev: dev.pread(4096, -1), "offset is -1: it must not be negative"),
        (lambda dev: dev.pread(4096, 2**63), f"offset is {2**63}: the disk ends at {16 * ZONE}"),
        (lambda dev: dev.pread(2**70, 0), f"length is {2**70}: the disk ends at {16 * ZONE}"),
        (lambda dev: dev.pwrite(BLOCK, -4096), "offset is -4096: it must not be negative"),
        (lambda dev: dev.preadinto(bytearray(8), 2**64), f"offset is {2**64}: the disk ends at"),
        (lambda dev: dev.append(-1, BLOCK), "zone -1 does not exist: the disk has zones 0 to 15"),
        (lambda dev: dev.append(16, BLOCK), "zone 16 does not exist"),
        (lambda dev: dev.append(2**40, BLOCK), f"zone {2**40} does not exist"),
        (lambda dev: dev.reset_zone(-1), "zone -1 does not exist"),
        (lambda dev: dev.reset_zone(2**32), f"zone {2**32} does not exist"),
        (lambda dev: dev.reset_zone(3, -1), "count is -1: it must be 1 to 16"),
        (lambda dev: dev.reset_zone(3, 0), "count is 0: it must be at least 1"),
        (lambda dev: dev.reset_zone(3, 14), "14 zones from zone 3 on: zone 16 does not exist"),
        (lambda dev: dev.set_condition(16, "empty"), "zone 16 does not exist"),
        (lambda dev: dev.report(17), "zone 17 does not exist"),
        (lambda dev: dev.report(-1), "zone -1 does not exist"),
        (lambda dev: dev.report(0, -1), "count is -1"),
        (lambda dev: dev.counters.zone(16), "zone 16 does not exist"),
        (lambda dev: list(dev.counters.zones(10, 7)), "count is 7"),
        (lambda dev: dev.pread(2**62, 0), f"passes the end of the disk at {16 * ZONE}"),
    ],
)
def test_numbers_out_of_range(
    dev: zoned.Device, call: Callable[[zoned.Device], object], sentence: str
) -> None:
    with pytest.raises(zoned.OutOfRangeError) as caught:
        call(dev)
    assert sentence in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert caught.value.rule == "out-of-range"
    assert caught.value.sense == (5, 0x21, 0)


def injected(code: int, **fields: int) -> zoned.ZonedError:
    """The exception for an error struct as the core fills it."""
    err = ffi.new("struct zd_error *")
    err.code = code
    err.cmd = lib.ZD_CMD_READ
    err.zone = 3
    err.offset = 3 * ZONE
    err.length = 4096
    err.wp = 3 * ZONE + 4096
    err.cond = lib.ZD_CLOSED
    for name, value in fields.items():
        setattr(err, name, value)
    with disk() as dev, pytest.raises(zoned.ZonedError) as caught:
        raising.raise_error(code, err, dev, None)
    return caught.value


def test_medium_errors_and_faults() -> None:
    read = injected(lib.ZD_E_MEDIUM_READ, injected=1, fault=5)
    assert type(read) is zoned.MediumError
    assert str(read) == (
        f"read of 4096 bytes at {3 * ZONE} in zone 3 failed: medium error (injected by fault 5)"
    )
    assert (read.errno, read.sense, read.injected, read.fault) == (
        errno.ENODATA,
        (3, 0x11, 0),
        True,
        5,
    )
    write = injected(lib.ZD_E_MEDIUM_WRITE, cmd=lib.ZD_CMD_WRITE)
    assert (write.errno, write.sense, write.fault) == (errno.EIO, (3, 0x0C, 0), None)
    assert write.condition is ZoneCondition.CLOSED
    power = injected(lib.ZD_E_POWER_LOSS, cmd=lib.ZD_CMD_FLUSH, zone=raising.NO_ZONE)
    assert type(power) is zoned.PowerLossError
    assert str(power) == "flush failed: the emulated disk has no power"


@pytest.mark.parametrize("dialect", ["zbc", "zns", "nullblk"])
def test_every_code_has_a_class_and_a_sentence(dialect: str) -> None:
    names = set()
    with disk(dialect=dialect) as dev:
        for code in range(lib.ZD_E_FIRST_RULE, lib.ZD_E_FIRST_RULE - lib.ZD_NR_RULES, -1):
            for command in range(lib.ZD_NR_CMDS):
                err = ffi.new("struct zd_error *")
                err.code = code
                err.cmd = command
                err.zone, err.offset, err.length = 3, 3 * ZONE, 8192
                err.wp = raising.NONE
                err.cond = 0xFF
                with pytest.raises(zoned.ZonedError) as caught:
                    raising.raise_error(code, err, dev, None)
                assert caught.value.rule == raising.rule_name(code)
                assert re.fullmatch(r"[a-z0-9].+[a-z0-9)]", str(caught.value))
                names.add(caught.value.rule)
        assert names == set(dev.counters.errors)


def subclasses(kind: type) -> Iterator[type]:
    for sub in kind.__subclasses__():
        yield sub
        yield from subclasses(sub)


@pytest.mark.parametrize("kind", [zoned.ZonedError, *subclasses(zoned.ZonedError)])
def test_pickle_and_copy(kind: type[zoned.ZonedError]) -> None:
    error = kind(
        5, "a sentence", zone=3, offset=7, wp=9, sense=(5, 0x21, 4), condition=ZoneCondition.FULL
    )
    error.extra = "kept"  # type: ignore[attr-defined]
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == "a sentence"
        assert other.args == error.args
        assert other.__dict__ == error.__dict__
        assert (other.errno, other.rule) == (5, kind.rule)


def test_host_errors_are_ordinary(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    with pytest.raises(FileExistsError) as exists:
        zoned.create(path)
    assert exists.value.filename == str(path)
    assert exists.value.errno == errno.EEXIST
    with pytest.raises(FileNotFoundError):
        zoned.create(tmp_path / "none" / "disk.img")
    with pytest.raises(FileNotFoundError):
        zoned.open(tmp_path / "none.img")
    with pytest.raises(IsADirectoryError):
        zoned.open(tmp_path)
    with pytest.raises(ValueError, match="NUL byte"):
        zoned.open(f"{path}\0x")
    with pytest.raises(TypeError):
        zoned.open(3)  # type: ignore[arg-type]


def test_image_errors(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"no image" * 10_000)
    with pytest.raises(zoned.NotAnImageError) as caught:
        zoned.open(path)
    assert caught.value.filename == str(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert isinstance(caught.value, OSError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.errno) == (str(caught.value), caught.value.errno)


def test_a_read_only_handle(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    with zoned.open(path, readonly=True) as dev:
        assert dev.readonly
        for call in (
            lambda: dev.pwrite(BLOCK, dev.zones[3].start),
            lambda: dev.append(3, BLOCK),
            lambda: dev.reset_zone(3),
            dev.reset_all,
            lambda: dev.set_condition(3, "offline"),
        ):
            with pytest.raises(io.UnsupportedOperation, match="the disk was opened read-only"):
                call()
        assert dev.pread(4096, 0) == BLOCK
