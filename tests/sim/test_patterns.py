"""Every named pattern runs to its end on every drive that it fits, and says in a sentence why on the others."""

from __future__ import annotations

import pytest

from zoned.bench.patterns import PATTERNS, PatternError, find
from zoned.bench.runner import execute
from zoned.bench.simulation import Run
from zoned.drives.models import load_drive

SHORT = {
    "streams": {"zones": "1"}, "random-zones": {"seconds": "1"}, "append-depth": {"seconds": "0.02"},
    "zone-commands": {"zones": "2"}, "log": {"zones": "24"}, "read-while-write": {"seconds": "0.02"},
    "mixed": {"seconds": "2"}, "drive-managed": {"writes": "2000"},
}  # fmt: skip
NOT_FOR = {
    ("append-depth", "hc620"): "no zone append",
    ("drive-managed", "hc620"): "not a drive-managed one",
    ("drive-managed", "zn540"): "not a drive-managed one",
}


def run(name: str, drive: str) -> Run:
    profile, model = load_drive(drive)
    geometry = profile.geometry()
    return execute(find(name).plan(geometry, SHORT.get(name, {})), geometry, model, 1)


@pytest.mark.parametrize("drive", ["hc620", "zn540"])
@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_on_every_drive(name: str, drive: str) -> None:
    if (name, drive) in NOT_FOR:
        with pytest.raises(PatternError, match=NOT_FOR[name, drive]):
            run(name, drive)
        return
    result = run(name, drive)
    assert result.commands > 0
    assert [job.error for job in result.jobs if job.error] == []
    assert not any(job.stopped for job in result.jobs)


@pytest.mark.parametrize("name", PATTERNS)
def test_on_a_disk_without_sequential_zones(name: str) -> None:
    if name == "drive-managed":
        assert run(name, "st8000as0002").total(1).count == 2000
        return
    with pytest.raises(PatternError, match=r"no (sequential zones|zone append)"):
        run(name, "st8000as0002")


def test_streams_write_their_zones_and_leave_none_open() -> None:
    """What a group leaves open would count against the open limit of the next."""
    result = run("streams", "zn540")
    assert [job.job.name for job in result.jobs[-8:]] == ["8-streams"] * 8
    assert len(result.jobs) == 1 + 2 + 4 + 8
    assert {job.stats[1].bytes for job in result.jobs} == {1077 * 2**20}
