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

from run.programs import Needs, made, started

pytestmark = pytest.mark.suite
FIOS_OWN = {"54"}
"""What fio 3.33 itself gets wrong: its verification reads behind the write pointer. It is EIO on null_blk of
Linux 6.12, too."""


def folder(needs: Needs, variable: str, inside: str) -> Path:
    """Of a suite. A test without it is skipped."""
    there = Path(os.environ.get(variable, "/nowhere"))
    needs(variable, (there / inside).exists(), f"the folder that has {inside}")
    return there


def plain(told: str) -> str:
    """What a suite told, without its colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", told)


@pytest.mark.parametrize("unrestricted", [True, False], ids=["urswrz", "no-urswrz"])
def test_libzbc(shm: Path, needs: Needs, unrestricted: bool) -> None:
    suite = folder(needs, "ZONED_LIBZBC", "zbc_test.sh")
    image = made(
        shm / "disk.img",
        size="24MiB",
        zone_size="1MiB",
        conventional=4,
        max_open=6,
        unrestricted_read=unrestricted,
    )
    script = f"cd {suite} && bash ./zbc_test.sh -n /dev/zsg0"
    told = plain(started(["bash", "-c", script], images=[image], patience=3600).stdout)
    ends = Counter(re.findall(r"\[([A-Z][A-Za-z/]+)\b.*\]$", told, re.MULTILINE))
    print(ends)
    assert ends["Passed"] >= 100, told
    assert set(ends) <= {"Passed", "N/A"}, told


@pytest.mark.parametrize("options", [[], ["-u"]], ids=["libaio", "io_uring"])
def test_fio_zbd(shm: Path, needs: Needs, options: list[str]) -> None:
    suite = folder(needs, "ZONED_FIO_SOURCE", "t/zbd/test-zbd-support")
    image = made(shm / "disk.img", size="1GiB", conventional=16, max_open=12)
    command = [str(suite / "t/zbd/test-zbd-support"), *options, "/dev/zoned0"]
    told = plain(started(command, images=[image], patience=3600).stdout)
    ends = Counter(re.findall(r"\.\.\. (PASS|FAIL|SKIP)\b", told))
    print(ends)
    assert ends["PASS"] >= 40, told
    assert set(re.findall(r"test (\d+) \.\.\. FAIL", told)) <= FIOS_OWN, told
