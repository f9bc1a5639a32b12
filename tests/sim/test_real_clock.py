"""Jobs on an emulated disk by the wall clock: the run's zones are the disk's, and dead zones are passed over."""

from __future__ import annotations

from typing import Any

import pytest

import zoned
from sim.helpers import MIB, disk, reader, run, writer
from zoned.bench import Job, Run
from zoned.bench.fiofile import Plan
from zoned.bench.runner import execute_real
from zoned.report import ROW
from zoned.zone import ZoneCondition


def real(*jobs: Job, kill: tuple[ZoneCondition, int] | None = None) -> Run:
    """A run of the jobs on the disk of ``disk()``; its zones stand as the disk's do."""
    with zoned.memory(size=64 * MIB, zone_size=4 * MIB, conventional=2, max_open=4) as dev:
        if kill is not None:
            execute_real(Plan([writer(size=12 * MIB)]), dev, 1)
            dev.set_condition(kill[1], kill[0])
        result = execute_real(Plan(list(jobs)), dev, 1)
        assert conditions(result) == [zone.condition for zone in dev.zones]
        return result


def conditions(result: Run) -> list[ZoneCondition]:
    return [ZoneCondition(row[7]) for row in ROW.iter_unpack(result.zones)]


def test_a_zone_that_was_written_is_open() -> None:
    result = real(writer(io_size=MIB))
    assert conditions(result)[2] is ZoneCondition.IMPLICIT_OPEN
    assert result.counts["implicit_opens"] == 1


def test_zones_that_the_disk_closed_itself_are_closed() -> None:
    """Six zones with at most four open: two were closed by the disk."""
    result = real(writer(random=True, ignore_zone_limits=True, number_ios=60, bs=4096))
    found = conditions(result)
    assert found.count(ZoneCondition.IMPLICIT_OPEN) == 4
    written = [condition for condition in found[2:] if condition is not ZoneCondition.EMPTY]
    assert found.count(ZoneCondition.CLOSED) == len(written) - 4 > 0


@pytest.mark.parametrize("condition", [ZoneCondition.OFFLINE, ZoneCondition.READ_ONLY])
@pytest.mark.parametrize("keywords", [{}, {"random": True}, {"verify": True}])
def test_writes_pass_a_dead_zone_over(condition: ZoneCondition, keywords: dict[str, Any]) -> None:
    """Zones 2 to 5, of which 3 is dead: the three others are written, those that were full after a reset."""
    job = writer(size=16 * MIB, io_size=12 * MIB, **keywords)
    result = real(job, kill=(condition, 3))
    assert result.jobs[0].error == ""
    assert result.total(1).bytes == 12 * MIB
    assert conditions(result)[3] is condition


@pytest.mark.parametrize(
    ("condition", "zones"), [(ZoneCondition.OFFLINE, 2), (ZoneCondition.READ_ONLY, 3)]
)
def test_reads_pass_an_offline_zone_over(condition: ZoneCondition, zones: int) -> None:
    result = real(reader(size=12 * MIB), kill=(condition, 3))
    assert result.jobs[0].error == ""
    assert result.total(0).bytes == zones * 4 * MIB
    scattered = reader(random=True, norandommap=True, number_ios=50, read_beyond_wp=True)
    assert real(scattered, kill=(condition, 2)).jobs[0].error == ""


def test_trims_pass_a_dead_zone_over() -> None:
    job = Job("t", offset=8 * MIB, size=12 * MIB, trims=True, zbd=True).set_bs(4 * MIB)
    result = real(job, kill=(ZoneCondition.OFFLINE, 3))
    assert (result.jobs[0].error, result.total(2).count) == ("", 2)


def test_a_limit_is_told_as_it_was_in_the_way() -> None:
    """What was active then, not what is when the run is over."""
    geometry = disk(dialect="zns", conventional=0, max_open=2, max_active=2)
    area = {"offset": 0, "size": 64 * MIB}
    clear = Job("t", trims=True, zbd=True, wait_for=1, **area).set_bs(4 * MIB)
    result = run(writer(random=True, ignore_zone_limits=True, **area), clear, geometry=geometry)
    assert "2 are active" in result.jobs[0].error
    assert result.total(2).count == 16
    with zoned.memory(
        size=64 * MIB, zone_size=4 * MIB, dialect="zns", conventional=0, max_open=2, max_active=2
    ) as dev:
        told = execute_real(
            Plan([writer(random=True, ignore_zone_limits=True, **area), clear]), dev, 1
        )
    assert "2 are active" in told.jobs[0].error
