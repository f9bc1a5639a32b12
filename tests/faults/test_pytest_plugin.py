"""The pytest plugin, used as a project would: a folder of its own, a run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from waiting import PATIENCE

ROOT = Path(__file__).parents[2]

INSTALLED = any(
    point.value == "zoned.pytest_plugin"
    for found in distributions(path=[*sys.path, str(ROOT)])
    for point in found.entry_points
)
"""Whether pytest finds the plugin by itself; named twice it would be refused."""
PLUGIN = [] if INSTALLED else ["-p", "zoned.pytest_plugin"]


def run(folder: Path, source: str, *arguments: str, ini: str = "", **env: str) -> tuple[int, str]:
    (folder / "test_it.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n" + ini)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *PLUGIN,
            "-p",
            "no:cacheprovider",
            "-q",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_fixture_gives_a_new_disk_to_each_test(tmp_path: Path) -> None:
    source = """
import pytest, zoned

@pytest.mark.parametrize("n", [1, 2])
def test_new(zoned_device, n):
    assert zoned_device.zones[3].condition is zoned.ZoneCondition.EMPTY
    zoned_device.pwrite(bytes(4096), zoned_device.zones[3].start)

@pytest.mark.zoned(zones=8, max_open=2, dialect="zns")
class TestMarked:
    def test_marker(self, zoned_device_factory):
        one, two = zoned_device_factory(), zoned_device_factory(max_open=1)
        assert [len(d.zones) for d in (one, two)] == [8, 8]
        assert [d.limits.max_open for d in (one, two)] == [2, 1]
        assert one.geometry.dialect == "zns"

    @pytest.mark.zoned(zones=6)
    def test_closest_marker(self, zoned_image):
        with zoned.open(zoned_image) as dev:
            assert len(dev.zones) == 6 and dev.limits.max_open == 2

@pytest.mark.zoned(faults={"kind": "medium", "on": "write", "nth": 2, "label": "marked"})
def test_faults(zoned_device):
    zoned_device.append(5, bytes(4096))
    zoned_device.pwrite(bytes(4096), zoned_device.zones[3].start)
    with pytest.raises(zoned.MediumError, match="marked"):
        zoned_device.pwrite(bytes(4096), zoned_device.zones[4].start)

@pytest.mark.zoned(zones=6, zone_size="64KiB")
def test_crashes(zoned_crashes):
    def workload(dev, ack):
        dev.append(3, bytes(4096))
        ack(1)
    with pytest.raises(AssertionError, match="replay="):
        zoned_crashes(workload, lambda dev, acked: None if dev.zones[3].wp > dev.zones[3].start else 1 / len([]) if acked else None)
"""
    code, said = run(tmp_path, source)
    assert code == 0, said
    assert "6 passed" in said
    code, said = run(tmp_path, source, "-n", "2")
    assert code == 0, said


ZONES = "def test_it(zoned_device):\n    assert len(zoned_device.zones) == {}\n"


@pytest.mark.parametrize(
    ("expected", "option", "ini", "env", "override"),
    [
        (16, [], "", {}, None),
        (3, [], "", {"ZONED_ZONES": "3"}, None),
        (4, [], "zoned_zones = 4\n", {"ZONED_ZONES": "3"}, None),
        (5, ["--zoned-zones", "5"], "zoned_zones = 4\n", {"ZONED_ZONES": "3"}, None),
        (6, ["--zoned-zones", "5"], "zoned_zones = 4\n", {"ZONED_ZONES": "3"}, 6),
    ],
)
def test_where_settings_come_from(
    tmp_path: Path, expected: int, option: list, ini: str, env: dict, override: int | None
) -> None:
    source = ZONES.format(expected)
    if override:
        source = (
            f"import pytest\n@pytest.fixture\ndef zoned_settings():\n    return {{'zones': {override}}}\n"
            + source
        )
    code, said = run(tmp_path, source, *option, ini=ini, **env)
    assert code == 0, said


def test_bad_settings_are_told(tmp_path: Path) -> None:
    code, said = run(tmp_path, ZONES.format(1), "--zoned-zones", "many")
    assert code != 0
    assert "zones is 'many': it must be a whole number" in said


def test_a_failure_shows_zones_and_commands(tmp_path: Path) -> None:
    source = """
def test_it(zoned_device):
    zoned_device.pwrite(bytes(8192), zoned_device.zones[3].start)
    zoned_device.flush()
    zoned_device.pwrite(bytes(4096), zoned_device.zones[3].start)
"""
    code, said = run(tmp_path, source)
    assert code == 1
    assert "zoned disk 1" in said
    assert "zone 3: IMPLICIT_OPEN, wp +8192, durable +8192" in said
    start = 3 * 4 * 1024 * 1024
    assert (
        f"  write of 8192 bytes at {start} in zone 3: ok\n  flush: ok\n"
        f"  write of 4096 bytes at {start} in zone 3: unaligned-write"
        f" (zone was IMPLICIT_OPEN, wp {start + 8192})" in said
    )


def test_a_failure_shows_what_others_did_to_the_image(tmp_path: Path) -> None:
    """The test's own handle is not the only one that counts: a file system's, another process's."""
    source = """
import subprocess, sys
import zoned
def test_fs(zonefs):
    with zonefs.open("seq/0", "ab") as file:
        file.write(bytes(4096))
    assert False
def test_image(zoned_image):
    code = "import sys, zoned\\nwith zoned.open(sys.argv[1]) as dev: dev.append(4, bytes(8192))"
    subprocess.run([sys.executable, "-c", code, str(zoned_image)], check=True)
    assert False
"""
    code, said = run(tmp_path, source)
    assert code == 1
    assert said.count("zoned disk 1") == 2
    assert "write of 4096 bytes at" in said
    assert "append of 8192 bytes to zone 4, landed at 16777216: ok" in said
    assert "zone 4: IMPLICIT_OPEN, wp +8192" in said


def test_a_leak_fails_the_test_that_made_it(tmp_path: Path) -> None:
    source = """
import zoned
kept = []
def test_leaks():
    kept.append(zoned.memory(size="4MiB", zone_size="1MiB"))
def test_innocent(zoned_device):
    pass
"""
    code, said = run(tmp_path, source)
    assert code == 1
    assert "the test left open: <zoned.Device in RAM, 4 MiB" in said
    assert "ERROR test_it.py::test_leaks" in said
    assert "2 passed, 1 error" in said


def test_a_run_that_uses_none_of_it_imports_none_of_it(tmp_path: Path) -> None:
    source = """
import sys
def test_it():
    assert not [name for name in sys.modules if name.startswith(("zoned.", "cffi", "_cffi")) and name != "zoned.pytest_plugin"]
"""
    code, said = run(tmp_path, source)
    assert code == 0, said
