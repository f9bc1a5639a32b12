"""``pace="real"``: commands take a modelled drive's time for real.

Only lower bounds: a machine may always be slower than the drive. That commands wait without a lock
and without a thread, and what ends the wait, is tried in tests/native/requests.c with a drive that
is done when the test says so.
"""

from __future__ import annotations

import os
import pickle
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import zoned
from cli.shell import ok
from sim.helpers import KIB, MIB
from zoned.drives.models import load_drive
from zoned.drives.profiles import ProfileError
from zoned.geometry import GeometryError

KEYWORDS: dict[str, Any] = {"zones": 64, "conventional": 2, "data": "none"}
OUTER = 265e6
"""Bytes a second: no zone of an HC620 is faster."""
FIRST = 4
"""The zone that tests write."""


def a_disk(path: Path, profile: str = "hc620") -> Path:
    """With data in some zones from FIRST on, all of them far from each other."""
    conventional = {} if profile == "zn540" else {"conventional": 2}
    with zoned.create(
        path, profile=profile, pace="real", zones=64, data="none", **conventional
    ) as dev:
        dev.close()
    with zoned.open(path, pace="none") as dev:
        for zone in range(FIRST, 64, 6):
            dev.pwrite(bytes(4 * MIB), dev.geometry.zone_start(zone))
            dev.finish_zone(zone)
    return path


def places(dev: zoned.Device, number: int) -> list[int]:
    dice = random.Random(7)
    zones = range(FIRST, 64, 6)
    return [
        dev.geometry.zone_start(zones[i % len(zones)]) + dice.randrange(1024) * 4 * KIB
        for i in range(number)
    ]


def measured(dev: zoned.Device, offsets: list[int]) -> float:
    """Nanoseconds by the monotonic clock."""
    began = time.monotonic_ns()
    for offset in offsets:
        dev.pread(4 * KIB, offset)
    return time.monotonic_ns() - began


def test_random_reads_take_the_seeks_of_a_hard_disk(tmp_path: Path) -> None:
    """Seeks depend on places alone (the platter's angle depends on when a command comes)."""
    path = a_disk(tmp_path / "disk.img")
    with zoned.open(path, pace="none") as dev, dev.clock.start("hc620") as clock:
        offsets = places(dev, 20)
        measured(dev, offsets)
        modelled = clock.parts["seek"]
        assert modelled > 20e6  # more than 1 ms each: the emulator alone takes microseconds
    with zoned.open(path) as dev:
        assert dev.pace == "hc620"
        assert measured(dev, offsets) >= modelled


def test_reads_of_a_zns_drive_take_all_of_the_modelled_time(tmp_path: Path) -> None:
    path = a_disk(tmp_path / "disk.img", "zn540")
    with zoned.open(path, pace="none") as dev, dev.clock.start("zn540") as clock:
        offsets = places(dev, 20)
        measured(dev, offsets)
        host = 20 * round(load_drive("zn540")[1].host_us * 1000)
        modelled = clock.busy - host
    with zoned.open(path) as dev:
        assert measured(dev, offsets) >= modelled > 20 * 30_000


def test_concurrent_commands_queue_for_one_actuator(tmp_path: Path) -> None:
    """Eight threads read 4 MiB each, at once: no faster than one head passes over 32 MiB. If they
    did not queue, it would take an eighth of that.
    """
    path = a_disk(tmp_path / "disk.img")
    with zoned.open(path) as dev:
        starts = [dev.geometry.zone_start(zone) for zone in range(FIRST, 64, 6)][:8]
        threads = [
            threading.Thread(target=dev.pread, args=(4 * MIB, start), daemon=True)
            for start in starts
        ]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began >= 8 * 4 * MIB / OUTER


def test_writes_and_flush_take_the_medium_s_time(tmp_path: Path) -> None:
    """16 MiB into a cache, and out of it by a flush: no faster than the platter."""
    path = a_disk(tmp_path / "disk.img")
    with zoned.open(path) as dev:
        start = dev.geometry.zone_start(FIRST + 1)
        began = time.monotonic()
        for at in range(16):
            dev.pwrite(bytes(MIB), start + at * MIB)
        dev.flush()
        assert time.monotonic() - began >= 16 * MIB / OUTER


def test_other_handles_take_no_time_and_the_disk_is_the_same(tmp_path: Path) -> None:
    path = a_disk(tmp_path / "disk.img")
    with zoned.open(path) as paced, zoned.open(path, pace="none") as plain:
        start = paced.geometry.zone_start(FIRST + 1)
        paced.pwrite(bytes(4 * KIB), start)
        plain.pwrite(bytes(4 * KIB), start + 4 * KIB)
        with pytest.raises(zoned.UnalignedWriteError):
            paced.pwrite(bytes(4 * KIB), start + 12 * KIB)
        assert (paced.pace, plain.pace) == ("hc620", "none")
        assert paced.info().pace == plain.info().pace == "real"


def test_who_opens_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "plain.img"
    zoned.create(path, profile="hc620", **KEYWORDS).close()
    with zoned.open(path) as dev:
        assert (dev.pace, dev.info().pace) == ("none", "none")
    for asked, found in (("real", "hc620"), ("zn540", "zn540"), ("none", "none")):
        with zoned.open(path, readonly=True, pace=asked) as dev:
            assert dev.pace == found
            dev.pread(4 * KIB, 0)


def test_a_drive_of_one_s_own(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = (Path(zoned.__file__).parent / "profiles" / "zn540.toml").read_text(encoding="utf-8")
    own.write_text(text, encoding="utf-8")
    with zoned.memory(profile=own, zones=16, pace="real") as dev:
        assert dev.pace == "own"
    with pytest.raises(ProfileError, match=r"kept in an image by the name of a built-in drive"):
        zoned.create(tmp_path / "disk.img", profile=own, pace="real")
    zoned.create(tmp_path / "disk.img", profile=own, zones=16).close()
    with zoned.open(tmp_path / "disk.img", pace=own) as dev:
        assert dev.pace == str(own)


def test_what_is_no_drive_is_refused_before_there_is_a_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    for profile, text in ((None, "no profile is given"), ("test", "is no drive whose time")):
        with pytest.raises(ProfileError, match=text):
            zoned.create(path, profile=profile, pace="real")
    with pytest.raises(ValueError, match="must be 'none' or 'real'"):
        zoned.create(path, profile="hc620", pace="fast")
    assert not path.exists()
    zoned.create(path).close()
    with pytest.raises(ProfileError, match="is no drive whose time"):
        zoned.open(path, pace="real")
    with pytest.raises(GeometryError, match="has no sequential zones"):
        zoned.open(path, pace="st8000as0002")
    with pytest.raises(ProfileError, match="there is no profile 'hc62'"):
        zoned.open(path, pace="hc62")


def test_it_goes_with_a_pickle_and_not_with_a_fork_of_the_process(tmp_path: Path) -> None:
    with zoned.memory(profile="zn540", zones=16, pace="real") as dev:
        with pickle.loads(pickle.dumps(dev)) as twin:
            assert twin.pace == "zn540"
        child = os.fork()
        if not child:
            try:
                os._exit(dev.pwrite(bytes(4096), 0) != 4096)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_command_makes_such_a_disk(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.img")
    ok("create", path, "--profile", "zn540", "--zones", "16", "--pace", "real")
    assert "pace" in ok("info", path).text
    assert "commands take the time of zn540" in ok("info", path).text
    with zoned.open(path) as dev:
        assert dev.pace == "zn540"
