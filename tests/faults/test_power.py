"""Power cuts: what survives obeys the durable pointers, for every opener, in every dialect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zoned
from zoned._core.looking import zone_written

MIB = 1 << 20
BLOCK = 4096
C = zoned.ZoneCondition


def zone(n: int) -> int:
    return n * MIB


@pytest.fixture
def dev():
    with zoned.memory(size="16MiB", zone_size="1MiB", conventional=2, max_open=4) as device:
        yield device


def test_without_power_nothing_works_but_giving_it_back(dev: zoned.Device) -> None:
    dev.power_cut()
    assert not dev.powered
    for call in (
        lambda: dev.pread(BLOCK, 0),
        lambda: dev.pwrite(b"a" * BLOCK, zone(3)),
        lambda: dev.append(3, b"a" * BLOCK),
        lambda: dev.reset_zone(3),
        dev.reset_all,
        dev.flush,
        lambda: dev.zones[3],
        dev.power_cycle,
        lambda: dev.set_condition(3, "OFFLINE"),
    ):
        with pytest.raises(zoned.PowerLossError, match="no power") as caught:
            call()
        assert not caught.value.injected
    assert dev.info().geometry.nr_zones == 16
    dev.power_cut("all")  # it is gone already
    dev.power_on()
    dev.power_on()
    assert dev.powered
    dev.pwrite(b"a" * BLOCK, zone(3))


def test_what_was_flushed_survives_and_nothing_else(dev: zoned.Device) -> None:
    flushed, late = os.urandom(2 * BLOCK), os.urandom(BLOCK)
    dev.pwrite(flushed, zone(3))
    dev.flush()
    dev.pwrite(late, zone(3) + 2 * BLOCK)
    dev.pwrite(late, zone(4))
    dev.pwrite(late, zone(0))
    dev.power_cut()
    dev.power_on()
    assert dev.zones[3].wp == dev.zones[3].durable_wp == zone(3) + 2 * BLOCK
    assert dev.zones[3].condition is C.CLOSED
    assert dev.zones[4].condition is C.EMPTY
    assert dev.pread(3 * BLOCK, zone(3)) == flushed + bytes(BLOCK)
    assert dev.pread(BLOCK, zone(4)) == bytes(BLOCK)
    assert dev.pread(BLOCK, zone(0)) == bytes(BLOCK)
    dev.pwrite(late, zone(4))
    assert dev.limits.open == 1 and dev.limits.closed == 1


def test_all_and_random_survivors(dev: zoned.Device) -> None:
    found = set()
    for seed in range(20):
        dev.reset_all()
        dev.pwrite(b"a" * 4 * BLOCK, zone(3))
        dev.flush()
        dev.pwrite(b"b" * 4 * BLOCK, zone(3) + 4 * BLOCK)
        dev.power_cut("random", seed=seed)
        dev.power_on()
        kept = dev.zones[3].wp - zone(3)
        assert dev.pread(8 * BLOCK, zone(3)) == (b"a" * 4 * BLOCK + b"b" * 4 * BLOCK)[:kept].ljust(
            8 * BLOCK, b"\0"
        )
        found.add(kept // BLOCK)
    assert found == {4, 5, 6, 7, 8}
    dev.reset_all()
    dev.pwrite(b"a" * BLOCK, zone(3))
    dev.power_cut("all")
    dev.power_on()
    assert dev.zones[3].wp == zone(3) + BLOCK


def test_management_commands_that_returned_stay_done(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * BLOCK, zone(3))
    dev.finish_zone(3)
    dev.pwrite(b"b" * BLOCK, zone(4))
    dev.flush()
    dev.reset_zone(4)
    dev.open_zone(5)
    dev.set_condition(6, "OFFLINE")
    dev.pwrite(b"c" * MIB, zone(7))  # full, but not by FINISH: its data is not durable
    dev.power_cut()
    dev.power_on()
    assert dev.zones[3].condition is C.FULL
    assert dev.pread(BLOCK, zone(3)) == b"a" * BLOCK
    assert dev.zones[4].condition is C.EMPTY
    assert dev.zones[5].condition is C.EMPTY
    assert dev.zones[6].condition is C.OFFLINE
    assert dev.zones[7].condition is C.EMPTY


def test_zns_never_has_more_active_zones_than_it_may() -> None:
    with zoned.memory(
        size="16MiB", zone_size="1MiB", dialect="zns", max_open=2, max_active=2
    ) as dev:
        for n in range(4):
            dev.pwrite(b"a" * BLOCK, zone(n))
            dev.flush()
            dev.pwrite(b"b" * (MIB - BLOCK), zone(n) + BLOCK)
        dev.append(8, b"a" * BLOCK)
        dev.flush()
        dev.power_cut()
        dev.power_on()
        assert dev.limits.active <= 2
        assert [dev.zones[n].condition for n in range(4)].count(C.FULL) >= 2


def test_rules_cut_the_power_before_and_after(dev: zoned.Device) -> None:
    fault = dev.faults.add("power-cut", on="write", nth=2, label="plug")
    dev.pwrite(b"a" * BLOCK, zone(3))
    for call in (lambda: dev.pwrite(b"b" * BLOCK, zone(3) + BLOCK), dev.flush):
        with pytest.raises(
            zoned.PowerLossError, match=f"injected by fault {fault.id}: plug"
        ) as caught:
            call()
        assert caught.value.fault == fault.id
    dev.power_on()
    assert dev.zones[3].wp == zone(3)
    dev.faults.clear()
    with dev.faults.add("power-cut", on="flush", after=True):
        dev.pwrite(b"a" * BLOCK, zone(3))
        dev.flush()
        assert not dev.powered
    dev.power_on()
    assert dev.zones[3].wp == zone(3) + BLOCK


def test_a_cut_holds_for_all_openers_and_over_a_reopening(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="8MiB", zone_size="1MiB") as dev, zoned.open(path) as other:
        dev.pwrite(b"a" * BLOCK, zone(3))
        dev.power_cut()
        with pytest.raises(zoned.PowerLossError):
            other.pread(BLOCK, zone(3))
    with zoned.open(path, readonly=True) as reader:
        assert not reader.powered
        with pytest.raises(zoned.PowerLossError):
            reader.pread(BLOCK, zone(3))
    with zoned.open(path) as dev:
        assert not dev.powered
        dev.power_on()
        assert dev.zones[3].wp == zone(3)
    assert [str(finding) for finding in zoned.check(path) if finding.error] == []


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(
                ["write", "append", "flush", "reset", "finish", "close", "open", "cut"]
            ),
            st.integers(2, 6),
            st.integers(1, 3),
        ),
        max_size=25,
    ),
    dialect=st.sampled_from(["zbc", "zns", "nullblk"]),
    keep=st.sampled_from(["durable", "all", "random"]),
)
def test_survivors_lie_between_durable_and_written(steps: list, dialect: str, keep: str) -> None:
    with zoned.memory(
        size="8MiB",
        zone_size="1MiB",
        zone_capacity="16KiB",
        dialect=dialect,
        max_open=3,
        max_active=4,
    ) as dev:
        for number, (what, z, blocks) in enumerate(steps):
            before = dev.report(0)
            try:
                match what:
                    case "write":
                        dev.pwrite(bytes([number]) * blocks * BLOCK, before[z].wp or zone(z))
                    case "append":
                        dev.append(z, bytes([number]) * blocks * BLOCK)
                    case "flush":
                        dev.flush()
                    case "cut":
                        data = [dev.pread(4 * BLOCK, zone(i)) for i in range(8)]
                        rows = list(before)
                        dev.power_cut(keep, seed=number)
                        dev.power_on()
                        check(dev, rows, data, keep)
                    case _:
                        getattr(dev, f"{what}_zone")(z)
            except zoned.ZonedError:
                continue
        assert dev.limits.active <= 4
        recount = [row.condition for row in dev.zones]
        assert dev.limits.closed == recount.count(C.CLOSED)
        assert dev.limits.implicit_open == recount.count(C.IMPLICIT_OPEN)


def check(dev: zoned.Device, rows: list, data: list, keep: str) -> None:
    for old, new in zip(rows, dev.zones, strict=True):
        assert new.condition in (C.EMPTY, C.CLOSED, C.FULL, old.condition)
        assert new.condition not in (C.IMPLICIT_OPEN, C.EXPLICIT_OPEN)
        if old.type is zoned.ZoneType.CONVENTIONAL:  # the steps write to none
            assert dev.pread(4 * BLOCK, old.start) == data[old.index]
            continue
        kept = zone_written(dev, old.index)
        durable = old.durable_wp - old.start
        if old.wp is not None:
            assert min(durable, old.wp - old.start) <= kept <= old.wp - old.start
            if keep == "all":
                assert kept == old.wp - old.start
            if keep == "durable":
                assert kept == durable
        assert dev.pread(4 * BLOCK, old.start)[:kept] == data[old.index][:kept]
