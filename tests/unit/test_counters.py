"""Counters: what was done is counted, per zone and in total, by every opener together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import zoned
from zoned._core.native import ffi
from zoned.device import _COUNTER_NAMES, _COUNTER_ROW

MIB = 1 << 20


def test_the_row_is_the_struct() -> None:
    assert ffi.sizeof("struct zd_zone_counters") == _COUNTER_ROW.size
    fields = [name for name, _ in ffi.typeof("struct zd_zone_counters").fields]
    assert tuple(fields) == _COUNTER_NAMES


def test_what_is_counted() -> None:
    with zoned.memory(max_open=2) as dev:
        fresh = dev.counters
        assert (fresh.reads, fresh.writes, fresh.max_open_seen, fresh.total_errors) == (0, 0, 0, 0)
        start = dev.zones[3].start
        dev.pwrite(bytes(8192), start)
        dev.append(3, bytes(4096))
        dev.pread(4096, start)
        dev.preadinto(bytearray(8192), start)
        dev.append(4, bytes(4096))
        dev.append(5, bytes(4096))
        dev.open_zone(6)
        dev.close_zone(6)
        dev.finish_zone(3)
        dev.reset_zone(4)
        dev.flush()
        with pytest.raises(zoned.UnalignedWriteError):
            dev.pwrite(bytes(4096), dev.zones[5].start)
        with pytest.raises(zoned.OutOfRangeError):
            dev.pread(4096, 64 * MIB)
        counters = dev.counters
        zone = counters.zone(3)
        assert (zone.writes, zone.appends, zone.bytes_written) == (1, 1, 12288)
        assert (zone.reads, zone.bytes_read) == (2, 12288)
        assert (zone.finishes, zone.finish_wasted) == (1, 4 * MIB - 12288)
        assert (zone.implicit_opens, zone.implicit_closes) == (1, 1)
        assert counters.zone(6).opens == 1
        assert counters.zone(6).closes == 1
        assert counters.zone(4).resets == 1
        assert counters.zone(5).errors == 1
        assert counters.flushes == 1
        assert counters.errors["unaligned-write"] == 1
        assert counters.errors["out-of-range"] == 1
        assert counters.errors["zone-full"] == 0
        assert counters.total_errors == 2
        assert counters.max_open_seen == 2
        every = list(counters.zones())
        assert len(every) == 16
        assert sum(one.bytes_written for one in every) == counters.bytes_written == 5 * 4096
        assert [one.errors for one in counters.zones(5, 2)] == [1, 0]
        assert json.loads(json.dumps(counters.as_dict()))["errors"]["unaligned-write"] == 1
        assert zone.as_dict()["finish_wasted"] == 4 * MIB - 12288


def test_openers_count_together(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path) as one, zoned.open(path) as two:
        one.append(3, bytes(4096))
        two.append(3, bytes(4096))
        assert one.counters == two.counters
        assert one.counters.zone(3).appends == 2
