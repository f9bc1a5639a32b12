"""A disk that is built of a history is, byte by byte, the one that was recorded: whatever commands the core has, with
data that a mover brings, that the disk makes by itself, or that is none.
"""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
from crashtest.histories import BLOCK, ZONE, everything
from zoned import Device, ZonedError
from zoned._core.handle import call
from zoned._core.native import ffi, lib
from zoned.crash import Build, History

NR_ZONES, CONV = 8, 2
DISKS: dict[str, dict[str, Any]] = {
    "zbc": {"conventional": [(0, CONV)], "max_open": 3},
    "zns": {
        "dialect": "zns",
        "zone_extension": 64,
        "zone_capacity": ZONE - 2 * BLOCK,
        "zrwa_size": 8 * BLOCK,
        "zrwa_granularity": 2 * BLOCK,
        "zrwa_count": 3,
    },
    "aware": {"conventional": [(0, CONV)], "model": "host-aware"},
}
SMALL = {"size": NR_ZONES * ZONE, "zone_size": ZONE}
OPS = {
    getattr(lib, name): name.removeprefix("ZD_OP_").lower()
    for name in dir(lib)
    if name.startswith("ZD_OP_")
}


class Elsewhere:
    """Data of which the disk hears only by the calls of a mover."""

    def __init__(self, data: bytes, fails: int = 0) -> None:
        """``fails``: the errno with which it cannot be taken."""
        self.data, self.fails = data, fails
        self.seen: list[int] = []
        """Of an append: where it was said to lie, at each call."""
        self.landed: Callable[[], int] = int
        self.taken = ffi.callback("int(struct zd_mover *, uint64_t, void *, uint64_t)", self._take)
        self.given = ffi.callback("int(struct zd_mover *, uint64_t, void *, uint64_t)", _give)
        self.mover = ffi.new("struct zd_mover *")
        self.mover.take = ffi.cast("void *", self.taken)
        self.mover.give = ffi.cast("void *", self.given)

    def _take(self, _mover: Any, at: int, to: Any, n: int) -> int:
        self.seen.append(self.landed())
        ffi.memmove(to, self.data[at : at + n], n)
        return -self.fails


def _give(_mover: Any, _at: int, _from: Any, _n: int) -> int:
    return 0


def give(
    device: Device,
    op: int,
    *,
    data: bytes | None = None,
    moved: bool | Elsewhere = False,
    **fields: int,
) -> int:
    """One request, in all forms that the core takes. Raises what it came to."""
    request = ffi.new("struct zd_request *")
    request.size, request.op = ffi.sizeof("struct zd_request"), op
    for name, value in fields.items():
        setattr(request, name, value)
    kept: list[object] = []
    if data is not None and moved:
        there = moved if isinstance(moved, Elsewhere) else Elsewhere(data)
        there.landed = lambda: int(request.landed)
        kept.append(there)
        request.mover, request.length = there.mover, len(data)
    elif data is not None:
        half = len(data) // 3
        pieces = [ffi.from_buffer(data[:half]), ffi.from_buffer(b""), ffi.from_buffer(data[half:])]
        iov = ffi.new("struct iovec[]", len(pieces))
        for at, piece in enumerate(pieces):
            iov[at].iov_base, iov[at].iov_len = ffi.cast("void *", piece), len(piece)
        request.iov, request.nr_iov = iov, len(pieces)
        kept += [iov, *pieces]
    if op == lib.ZD_OP_REPORT:
        zones = ffi.new("struct zd_zone[]", NR_ZONES)
        request.zones = zones
        kept.append(zones)

    def submit(handle: Any, _nothing: object, err: Any) -> int:
        request.err = err
        lib.zd_submit(handle, request)
        return int(request.result)

    return call(device, submit, None)


def one_of(draw: random.Random, device: Device, op: int) -> Callable[[], int]:
    """A request of this op, which the rules may refuse."""
    zone = draw.randrange(NR_ZONES)
    blocks = draw.randrange(1, 20)
    data = draw.choice([draw.randbytes(BLOCK * blocks), bytes(BLOCK * blocks)])
    if draw.random() < 0.75:  # where a write is in order
        wp = device.zones[zone].wp
        offset = wp if wp is not None else zone * ZONE + BLOCK * draw.randrange(16)
    else:
        offset = draw.randrange(NR_ZONES) * ZONE + BLOCK * draw.randrange(16)
    fua = lib.ZD_REQ_FUA * (draw.random() < 0.3)
    every = lib.ZD_REQ_ALL * (draw.random() < 0.1)
    moved = draw.random() < 0.5
    name = OPS[op]
    if name in ("write", "append"):
        return lambda: give(device, op, data=data, moved=moved, zone=zone, offset=offset, flags=fua)
    if name == "read":
        return lambda: give(device, op, data=data, moved=moved, offset=offset)
    if name == "compare":
        return lambda: give(device, op, data=data, offset=offset)
    if name == "set_extension":
        extension = draw.randbytes(device.geometry.zone_extension)
        return lambda: give(device, op, data=extension, zone=zone)
    if name in ("verify", "write_zeroes", "deallocate", "flush"):
        length = BLOCK * blocks * (name != "flush" or draw.random() < 0.7)
        flags = fua if name == "write_zeroes" else 0
        return lambda: give(device, op, offset=offset, length=length, flags=flags)
    if name == "commit_zrwa":
        zone = draw.choice([z for z in range(NR_ZONES) if device.write_area(z)] or [zone])
        upto = (device.zones[zone].wp or 0) + 2 * BLOCK * draw.randrange(5)
        return lambda: give(device, op, zone=zone, offset=upto)
    if name in ("open", "close", "finish", "reset"):
        count = draw.choice([1, 1, 1, 2])
        return lambda: give(device, op, zone=zone, count=count, flags=every)
    return lambda: give(device, op, zone=zone, count=1)


def drawn(draw: random.Random, device: Device, commands: int) -> Iterator[Callable[[], int]]:
    """Each op at least once; those that take zones away, and that empty all, not much more often."""
    rare = [op for op, name in OPS.items() if name.endswith("_all") or name.startswith("set_")]
    areas = [lib.ZD_OP_OPEN_ZRWA, lib.ZD_OP_COMMIT_ZRWA]
    ops = [op for op in OPS if op not in areas or device.geometry.zrwa_size]
    often = [op for op in ops if op not in rare]
    writes = [lib.ZD_OP_WRITE, lib.ZD_OP_APPEND] * 5
    areas = areas * 4 if device.geometry.zrwa_size else []
    chosen = [*ops, *draw.choices(often + writes + areas, k=commands)]
    draw.shuffle(chosen)
    for op in chosen:
        yield one_of(draw, device, op)


def state(device: Device) -> tuple[object, ...]:
    """What a host sees, and what a power cut could take."""
    extensions = [
        (device.zone_extension(zone), device.write_area(zone)) for zone in range(NR_ZONES)
    ]
    with device.crash_states("random", limit=1) as states:
        return everything(device), extensions, states.fingerprint


@pytest.mark.parametrize("disk", list(DISKS))
def test_every_op_leaves_the_same_disk(disk: str, tmp_path: Path, long_run: bool) -> None:
    done: set[str] = set()
    for seed in range(300 if long_run else 3):
        draw = random.Random(f"{disk} {seed}")
        path = tmp_path / f"{seed}.history"
        was = []
        geometry = SMALL | DISKS[disk]
        with zoned.memory(**geometry) as device:
            for zone in (1, 3):
                device.pwrite(draw.randbytes(5 * BLOCK), zone * ZONE)
            with zoned.crash.record(device, path):
                for command in drawn(draw, device, 40):
                    try:
                        command()
                    except (ZonedError, ValueError, OSError):
                        refused = True
                    else:
                        refused = False
                    device.trace.mark("refused" if refused else "done")
                    was.append(state(device))
        with History(path) as history:
            assert history.cut is None, history.cut
            assert len(history.marks) == len(was)
            done |= {str(item.command) for item in history.changes if item.ok}
            with contextlib.closing(Build(history)) as build:
                for number, (mark, one) in enumerate(zip(history.marks, was, strict=True)):
                    build.go(mark.after)
                    last = history.changes[mark.after - 1]
                    assert state(build.device) == one, (seed, number, last)
        path.unlink()
    assert {"write", "append", "flush", "power-cycle", "reset-all", "set-offline"} <= done
    assert ("set-extension" in done) == (disk == "zns")
    assert ("open-zrwa" in done) == ("commit-zrwa" in done) == (disk == "zns")


def test_data_that_a_mover_cannot_bring_is_no_command(tmp_path: Path) -> None:
    """It ends as where nobody records; the next one is recorded as ever, in two turns."""
    path, data = tmp_path / "x.history", random.Random(1).randbytes(40 * BLOCK)
    with zoned.memory(size="2MiB", zone_size="256KiB", conventional=0) as device:
        with zoned.crash.record(device, path):
            for op in (lib.ZD_OP_WRITE, lib.ZD_OP_APPEND):
                broken = Elsewhere(data, errno.EFAULT)
                with pytest.raises(OSError, match="could not be recorded") as failed:
                    give(device, op, data=data, moved=broken)
                assert failed.value.errno == errno.EFAULT
            there = Elsewhere(data)
            give(device, lib.ZD_OP_APPEND, data=data, moved=there, zone=1)
            # Nobody knows its place while the recorder takes it, and the server of a kernel writes that down.
            assert {*there.seen} == {lib.ZD_NONE, 256 << 10}
            assert [*there.seen] == sorted(there.seen, reverse=True)
            now = device.pread(len(data), 256 << 10)
        assert now == data
    with History(path) as history, history.disk() as disk:
        assert len(history) == 1
        assert disk.pread(len(data), 256 << 10) == data


def test_a_command_for_all_zones_that_fails_behind_some(tmp_path: Path) -> None:
    """OPEN ALL of NVMe opens as many as may be, and then it fails."""
    path = tmp_path / "x.history"
    with zoned.memory(**(DISKS["zns"] | SMALL), max_open=2) as device:
        for zone in range(4):
            device.append(zone, bytes(BLOCK))
            device.close_zone(zone)
        with zoned.crash.record(device, path):
            with pytest.raises(zoned.TooManyOpenError):
                device.open_all()
            now = state(device)
            device.close_zone(1)
    said = "open-all of zone 2: too-many-open (zone was CLOSED, wp 135168), behind 2 zones"
    with History(path) as history, history.disk(1) as disk:
        assert str(history.changes[0]) == said
        assert state(disk) == now


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("open_all", ["EXPLICIT_OPEN", "CLOSED", "IMPLICIT_OPEN", "EXPLICIT_OPEN", "EMPTY"]),
        ("close_all", ["CLOSED", "CLOSED", "CLOSED", "EXPLICIT_OPEN", "EMPTY"]),
        ("finish_all", ["FULL", "CLOSED", "IMPLICIT_OPEN", "EXPLICIT_OPEN", "EMPTY"]),
        ("reset_all", ["EMPTY", "CLOSED", "IMPLICIT_OPEN", "EXPLICIT_OPEN", "EMPTY"]),
        ("power_cycle", ["CLOSED", "CLOSED", "CLOSED", "EXPLICIT_OPEN", "EMPTY"]),
    ],
)
def test_one_that_was_interrupted_behind_a_zone(
    name: str, wanted: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "x.history"
    with zoned.memory(**(DISKS["zns"] | SMALL)) as device:
        for zone in range(3):
            device.append(zone, bytes(BLOCK))
        device.close_zone(0)
        device.close_zone(1)
        device.open_zone(3)
        with zoned.crash.record(device, path):
            getattr(device, name)()
    with History(path) as history:
        history.changes[0] = history.changes[0]._replace(code=-errno.EINTR, done=1)
        with history.disk() as disk:
            assert [zone.condition.name for zone in disk.zones][:5] == wanted
