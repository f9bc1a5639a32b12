"""The pytest plugin, used as a project would: a folder of its own, a run of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path

import pytest

from waiting import PATIENCE
from zonefs.mounting import available

pytestmark = pytest.mark.plain  # Python that starts, most of the time

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
    # pytest's summary repeats a whole message where it believes itself in a CI
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")
    }
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
        env={**inherited, "PYTHONPATH": str(ROOT), **env},
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


BAD_MARKERS = (
    ("zones='many'", "zones is 'many': it must be a whole number"),
    ("zones=0", "zones is 0: it must be a number of zones, 1 or more"),
    ("zones=4, size='4MiB'", "size and zones exclude each other: give one of them"),
    ("4", "the marker zoned takes keywords only, such as zones=16"),
    ("colour=1", "there is no keyword colour"),
    ("profile='nope'", "there is no profile 'nope'; built in are "),
    ("faults='no.toml'", "no.toml: No such file or directory"),
    ("faults=3", "faults is 3: it must be the path of a plan, or its rules"),
    ("faults={'kin': 'torn'}", "fault 1: unknown key kin (did you mean kind?)"),
    ("faults={'kind': 'torn', 'zones': 99}", "zone 99 does not exist"),
)


def test_bad_markers_are_told_in_one_sentence(tmp_path: Path) -> None:
    source = "import pytest\n" + "\n".join(
        f"@pytest.mark.zoned({marker})\ndef test_{number}(zoned_device): pass"
        for number, (marker, _) in enumerate(BAD_MARKERS)
    )
    code, said = run(tmp_path, source)
    assert code == 1
    assert f"{len(BAD_MARKERS)} errors" in said
    for _, sentence in BAD_MARKERS:
        assert f"\nzoned settings of this test: {sentence}" in said
    assert "Traceback" not in said and "pytest_plugin.py" not in said
    assert "During handling" not in said


def test_a_size_and_a_number_of_zones_take_each_others_place(tmp_path: Path) -> None:
    """Whoever goes before tells the size, in whichever way; a profile keeps its own zones."""
    (tmp_path / "plan.toml").write_text("[[fault]]\nkind = 'medium'\non = 'reset'\n")
    source = """
import pytest
MIB = 1 << 20
def test_option(zoned_device):
    assert zoned_device.geometry.size == 5 * MIB
def test_factory(zoned_device_factory):
    assert zoned_device_factory(zones=3).geometry.size == 3 * MIB
@pytest.mark.zoned(zones=4)
class TestMarked:
    def test_marker(self, zoned_image_size):
        assert zoned_image_size == 4 * MIB
    def test_factory(self, zoned_device_factory):
        assert zoned_device_factory(size="7MiB").geometry.size == 7 * MIB
    def test_crashes(self, zoned_crashes):
        sizes = set()
        zoned_crashes(lambda dev, ack: dev.flush(), lambda dev, told: sizes.add(dev.geometry.size))
        zoned_crashes(lambda dev, ack: dev.flush(), lambda dev, told: sizes.add(dev.geometry.size), zones=6)
        assert sizes == {4 * MIB, 6 * MIB}
@pytest.mark.zoned(profile="zn540", zones=16, max_open=2, faults="plan.toml")
def test_profile(zoned_device):
    assert (zoned_device.geometry.zone_size, zoned_device.geometry.nr_zones) == (2048 * MIB, 16)
    assert zoned_device.geometry.zone_capacity == 1077 * MIB
    assert [fault.rule.on for fault in zoned_device.faults] == ["reset"]
@pytest.fixture
def zoned_image_size(zoned_image):
    import zoned
    with zoned.open(zoned_image) as dev:
        return dev.geometry.size
"""
    code, said = run(tmp_path, source, "--zoned-size", "5MiB", ini="zoned_zones = 9\n")
    assert code == 0, said
    assert "6 passed" in said


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


def test_the_faults_of_a_file_system_begin_once_it_is_there(
    tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    needs("fuse", available() == "", available())
    source = """
import errno, os
import pytest
first = pytest.mark.zoned(faults={"kind": "medium", "on": "write,read", "nth": 1})
@first
def test_fs(zonefs, zoned_device):
    with zonefs.open("seq/0", "ab", buffering=0) as file, pytest.raises(OSError) as caught:
        file.write(bytes(4096))
    assert caught.value.errno == errno.EIO
    assert [fault.matched for fault in zoned_device.faults] == [1]
@first
def test_mount(zonefs_mount):
    file = os.open(zonefs_mount / "seq" / "0", os.O_WRONLY)
    with pytest.raises(OSError) as caught:
        os.write(file, bytes(4096))
        os.fsync(file)
    os.close(file)
    assert caught.value.errno == errno.EIO
"""
    code, said = run(tmp_path, source)
    assert code == 0, said


def test_an_iscsi_target_for_a_test(tmp_path: Path) -> None:
    source = """
import socket, pytest

@pytest.mark.zoned(zones=8, conventional=1)
def test_it(zoned_iscsi, zoned_device):
    host, _, port = zoned_iscsi.address.rpartition(":")
    socket.create_connection((host, int(port))).close()
    assert zoned_iscsi.url == f"iscsi://{zoned_iscsi.address}/{zoned_iscsi.iqn}/0"
    assert str(zoned_device.info().uuid) in zoned_iscsi.iqn
"""
    code, said = run(tmp_path, source)
    assert code == 0, said


def test_an_nvm_subsystem_for_a_test(tmp_path: Path) -> None:
    source = """
import socket, pytest

@pytest.mark.zoned(zones=8, conventional=1, dialect="zns")
def test_it(zoned_nvme, zoned_device):
    socket.create_connection(("127.0.0.1", int(zoned_nvme.port))).close()
    assert str(zoned_device.info().uuid) in zoned_nvme.nqn
    assert list(zoned_nvme.targets[0].namespaces) == [1, 2]
"""
    code, said = run(tmp_path, source)
    assert code == 0, said


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


def test_a_refused_survivor_shows_the_test_and_the_story(tmp_path: Path) -> None:
    """No frame of the library stands between them, in this process or another."""
    source = """
import pytest
from zoned.testing import check_crashes

def workload(dev, ack):
    dev.append(3, bytes(4096))
    ack(1)

def verify(dev, told):
    assert len(told) == 0 or dev.zones[3].wp > dev.zones[3].start

@pytest.mark.parametrize("jobs", [1, 2])
def test_check(jobs):
    check_crashes(workload, verify, zones=6, jobs=jobs)

def test_fixture(zoned_crashes):
    zoned_crashes(workload, verify)

def test_workload():
    def raises(dev, ack):
        raise KeyError("mine")
    check_crashes(raises, verify)

def test_too_many():
    check_crashes(workload, verify, limit=1, strategy="exhaustive")
"""
    code, said = run(tmp_path, source)
    assert code == 1
    assert "5 failed" in said
    assert said.count("To repeat it: check_crashes(..., replay=") == 3
    assert said.count("test_it.py:10: AssertionError") == 2
    assert said.count(">       check_crashes(") + said.count(">       zoned_crashes(") == 5
    assert said.count('>       raise KeyError("mine")') == 1
    for library in ("zoned/crash/checker.py", "zoned/crash/choices.py", "zoned/pytest_plugin.py"):
        assert library not in said
    code, said = run(tmp_path, source, "--full-trace")
    assert "zoned/crash/checker.py" in said


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


def test_the_place_where_a_leaked_disk_was_made_is_told(tmp_path: Path) -> None:
    """The line of the test, whoever made the disk for it: a helper, a fork, a thread."""
    (tmp_path / "helper.py").write_text(
        "import zoned\ndef make():\n    return zoned.memory(zones=4)\n"
    )
    source = """
import threading
kept = []
def test_first(tmp_path):
    import zoned
    kept.append(zoned.create(tmp_path / "a.img"))
    kept.append(zoned.open(tmp_path / "a.img"))
def test_helper():
    import helper
    kept.append(helper.make())
def test_thread():
    import helper
    thread = threading.Thread(target=lambda: kept.append(helper.make()))
    thread.start()
    thread.join()
    pool = threading.Thread(target=helper.make)
    pool.start()
    pool.join()
def test_fork(zoned_device):
    with zoned_device.snapshot() as taken:
        kept.append(taken.fork())
"""
    code, said = run(tmp_path, source)
    assert code == 1
    assert "4 passed, 4 errors" in said
    said = " ".join(said.split())
    for line in (6, 7, 10, 13, 21):
        assert f", made at test_it.py:{line}" in said
    assert "zoned/device.py" not in said


def test_wide_factories_make_disks_for_several_tests(tmp_path: Path) -> None:
    """They stay open from test to test, are no test's leak, and are shown where they are used."""
    source = """
import pytest
import zoned

pytestmark = pytest.mark.zoned(zones=6)
seen = []

@pytest.fixture(scope="module")
def shared(zoned_module_device_factory):
    return zoned_module_device_factory(max_open=3)

def test_write(shared):
    seen.append(shared)
    assert (len(shared.zones), shared.limits.max_open) == (6, 3)
    shared.append(4, bytes(8192))

def test_still_there(shared, zoned_session_device_factory):
    assert shared.zones[4].wp == shared.zones[4].start + 8192
    seen.append(zoned_session_device_factory())
    assert len(seen[-1].zones) == 5

@pytest.mark.zoned(zones=3)
def test_fails(shared, zoned_device):
    assert len(zoned_device.zones) == 3 and len(shared.zones) == 6
    assert not seen[1].closed
    assert False
"""
    other = """
import test_it
def test_next_module(zoned_session_device_factory):
    module, session = test_it.seen
    assert module.closed and not session.closed
"""
    (tmp_path / "test_next.py").write_text(other)
    code, said = run(tmp_path, source, ini="zoned_zones = 5\n")
    assert code == 1
    assert "3 passed, 1 failed" in said or "1 failed, 3 passed" in said
    assert "error" not in said.lower().replace("assertionerror", "")
    assert "zoned disk 1" in said and "zoned disk 2" in said and "zoned disk 3" not in said
    assert "append of 8192 bytes to zone 4" in said


def test_settings_for_wide_factories_are_as_wide(tmp_path: Path) -> None:
    source = """
import pytest
@pytest.fixture(scope="{}")
def zoned_settings():
    return {{"zones": 7}}
def test_it(zoned_module_device_factory, zoned_device):
    assert [len(dev.zones) for dev in (zoned_module_device_factory(), zoned_device)] == [7, 7]
"""
    code, said = run(tmp_path, source.format("module"))
    assert code == 0, said
    code, said = run(tmp_path, source.format("function"))
    assert code == 1
    assert "ScopeMismatch" in said and "zoned_settings" in said


def test_a_leaked_mount_fails_its_test_and_is_taken_away(
    tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    needs("fuse", available() == "", available())
    source = """
import subprocess, sys
def test_leaks(zoned_image, tmp_path):
    point = tmp_path / "mount point"
    point.mkdir()
    for words in (["mkfs", zoned_image], ["mount", zoned_image, point]):
        subprocess.run([sys.executable, "-m", "zoned", *map(str, words)], check=True)
def test_innocent(zonefs_mount):
    assert (zonefs_mount / "seq").is_dir()
"""
    code, said = run(tmp_path, source, "--basetemp", str(tmp_path / "run"))
    assert code == 1
    point = tmp_path / "run" / "test_leaks0" / "mount point"
    assert f"the test left open: the mount at {point}" in said
    assert "2 passed, 1 error" in said
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_run_that_uses_none_of_it_imports_none_of_it(tmp_path: Path) -> None:
    source = """
import sys
def test_it():
    assert not [name for name in sys.modules if name.startswith(("zoned.", "cffi", "_cffi")) and name != "zoned.pytest_plugin"]
"""
    code, said = run(tmp_path, source)
    assert code == 0, said


def test_a_test_that_ends_while_commands_hang_fails_and_does_not_hang(tmp_path: Path) -> None:
    source = """
import threading, pytest, zoned
from waiting import until

def hang(device, zone):
    fault = device.faults.add("hang", on="append", zones=zone, label="stuck")
    threading.Thread(target=device.append, args=(zone, bytes(4096))).start()
    until(lambda: fault.waiting, "the append hangs")

def test_fixture(zoned_device):
    hang(zoned_device, 3)

def test_image(zoned_image):
    with zoned.open(zoned_image) as device:
        hang(device, 3)
        raise RuntimeError("a workload that fails")

@pytest.fixture
def joined(zoned_device):
    thread = threading.Thread(target=zoned_device.append, args=(4, bytes(4096)))
    fault = zoned_device.faults.add("hang", on="append", zones=4, label="joined")
    thread.start()
    until(lambda: fault.waiting, "the append hangs")
    yield
    thread.join()

def test_teardown_waits(joined):
    pass

def test_fine(zoned_device):
    zoned_device.faults.add("hang", on="append", zones=3)
"""
    status, out = run(
        tmp_path, source, PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    )
    assert status == 1, out
    assert out.count("the test ended while commands were hanging, which were let go") >= 2, out
    assert "stuck" in out and "joined" in out
    assert (
        "ERROR test_it.py::test_fixture" in out and "ERROR test_it.py::test_teardown_waits" in out
    )
    assert "FAILED test_it.py::test_image" in out and "ERROR test_it.py::test_fine" not in out


def test_a_program_finds_the_image_as_a_block_device(tmp_path: Path) -> None:
    source = """
def test_it(zoned_run):
    done = zoned_run(["cat", "/sys/block/zoned0/queue/zoned"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "host-managed\\n")
    assert done.report.verdict == "the program did nothing to the disk"
"""
    code, said = run(tmp_path, source)
    assert code == 0, said
