"""Suites that others wrote, on emulated disks: libzbc's by SG_IO, and fio's for zoned block devices.

They are not part of this tree. ``ZONED_LIBZBC`` names the folder of a built libzbc's tests (with
zbc_test.sh and programs/), ``ZONED_FIO_SOURCE`` that of fio's source with a program fio in it. They
write their logs there.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

import core
import zoned
from run.programs import Needs, made, started
from run.suites import LIBZBC, ends_of_libzbc, plain
from zoned.running import session

pytestmark = pytest.mark.suite
FIOS_OWN = {
    "54": "fio 3.33's verification reads behind the write pointer, which is EIO on null_blk of Linux 6.12, too (mended in 3.34)"
}
"""Cases that fail by a fault of the suite's own, and which."""


def folder(needs: Needs, variable: str, inside: str) -> Path:
    """Of a suite. A test without it is skipped."""
    there = Path(os.environ.get(variable, "/nowhere"))
    needs(variable, (there / inside).exists(), f"the folder that has {inside}")
    return there


def libzbc(suite: Path, shm: Path, *, unrestricted: bool, options: str = "") -> list[str]:
    """The disk's image for it, and the command that runs it."""
    made(
        shm / "disk.img",
        size="24MiB",
        zone_size="1MiB",
        conventional=4,
        max_open=6,
        unrestricted_read=unrestricted,
    )
    return ["bash", "-c", f"cd {suite} && bash ./zbc_test.sh -n {options} /dev/zsg0"]


@pytest.mark.parametrize("unrestricted", [True, False], ids=["urswrz", "no-urswrz"])
def test_libzbc(shm: Path, needs: Needs, unrestricted: bool) -> None:
    suite = folder(needs, "ZONED_LIBZBC", "zbc_test.sh")
    command = libzbc(suite, shm, unrestricted=unrestricted)
    done = started(command, images=[shm / "disk.img"], patience=3600)
    ends = ends_of_libzbc(done.stdout)
    print(Counter(ends.values()))
    assert (Counter(ends.values()), done.returncode) == (LIBZBC, 0), done.stdout


FLIPPED = (
    (
        '"unaligned-write", EIO, 0x5, 0x21, 0x04,',
        '"unaligned-write", EIO, 0x5, 0x21, 0x05,',
        "Illegal-request / Unaligned-write-command",
        "Illegal-request / Write-boundary-violation",
    ),
    (
        '"invalid-read", EIO, 0x5, 0x21, 0x06,',
        '"invalid-read", EIO, 0x5, 0x21, 0x07,',
        "Illegal-request / Attempt-to-read-invalid-data",
        "Illegal-request / Read-boundary-violation",
    ),
    (
        '"too-many-open", ETOOMANYREFS, 0x7, 0x55, 0x0E,',
        '"too-many-open", ETOOMANYREFS, 0x5, 0x55, 0x0E,',
        "Data-protect / Insufficient-zone-resources",
        "Illegal-request / Insufficient-zone-resources",
    ),
)
"""Rows of sense data, what takes their place and is as plausible, and what libzbc calls both."""


def test_libzbc_sees_wrong_sense_data(
    shm: Path, needs: Needs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three codes of the executor flipped: cases of each fail, and no others."""
    suite = folder(needs, "ZONED_LIBZBC", "zbc_test.sh")
    changes = [(right, wrong) for right, wrong, _, _ in FLIPPED]
    broken = core.preload_with_mistake("status.c", changes, shm)
    monkeypatch.setattr(session, "library", lambda: str(broken))
    command = libzbc(suite, shm, unrestricted=False, options="-S 01")
    disks = {"zoned0": shm / "disk.img"}
    done = zoned.run(command, disks=disks, capture_output=True, text=True, timeout=3600)
    ends = Counter(ends_of_libzbc(done.stdout).values())
    seen = re.findall(r"Expected (\S+ / \S+)\n.*Got (\S+ / \S+)\n", plain(done.stdout))
    print(ends)
    assert set(seen) == {(right, wrong) for _, _, right, wrong in FLIPPED}, done.stdout
    assert (ends["Failed"], ends.keys()) == (len(seen), {"Passed", "N/A", "Failed"}), done.stdout
    assert done.returncode != 0


@pytest.mark.parametrize("options", [[], ["-u"]], ids=["libaio", "io_uring"])
def test_fio_zbd(shm: Path, needs: Needs, options: list[str]) -> None:
    suite = folder(needs, "ZONED_FIO_SOURCE", "t/zbd/test-zbd-support")
    image = made(shm / "disk.img", size="1GiB", conventional=16, max_open=12)
    command = [str(suite / "t/zbd/test-zbd-support"), *options, "/dev/zoned0"]
    told = plain(started(command, images=[image], patience=3600).stdout)
    ends = Counter(re.findall(r"\.\.\. (PASS|FAIL|SKIP)\b", told))
    print(ends)
    assert sum(ends.values()) == len(re.findall(r"^Running test \d+ ", told, re.MULTILINE)), told
    assert ends["PASS"] >= 50, told
    assert set(re.findall(r"test (\d+) \.\.\. FAIL", told)) <= FIOS_OWN.keys(), told
