"""Suites that others wrote, on an exported disk that the kernel's own initiator attached: libzbc's and blktests'.

They are not part of this tree. ``ZONED_LIBZBC`` names the folder of a built libzbc's tests (with zbc_test.sh and
programs/, linked without libraries of its own), ``ZONED_BLKTESTS`` that of a built blktests. The guest gets copies.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import lab
from kernel.conftest import Attach

pytestmark = [pytest.mark.kernel, pytest.mark.long]
Needs = Callable[[str, bool, str], None]
HOURS = 4 * 3600


def copied(kernel: lab.Kernel, needs: Needs, variable: str, inside: str) -> str:
    """The guest's path of a suite. A test without it is skipped."""
    there = Path(os.environ.get(variable, "/nowhere"))
    needs(variable, (there / inside).exists(), f"the folder that has {inside}")
    copy = kernel.share / variable
    shutil.copytree(there, copy, symlinks=True, dirs_exist_ok=True)
    return f"/job/{copy.name}"


def plain(told: str) -> str:
    """What a suite told, without its colours and moves of the cursor."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", told)


# A folder in memory to run in, and what bash wants for <(...).
SETUP = """
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || { ln -s fd/0 /dev/stdin; ln -s fd/1 /dev/stdout; ln -s fd/2 /dev/stderr; }
rm -rf /tmp/suite; cp -a $suite /tmp/suite; cd /tmp/suite
"""


@pytest.mark.parametrize("unrestricted", [True, False], ids=["urswrz", "no-urswrz"])
def test_libzbc(
    kernel: lab.Kernel,
    attach: Attach,
    needs: Needs,
    note: Callable[[str], None],
    unrestricted: bool,
) -> None:
    """Without URSWRZ the kernel makes no zoned block device of it, and its node of sg works all the same."""
    suite = copied(kernel, needs, "ZONED_LIBZBC", "zbc_test.sh")
    disk = attach(
        disk={
            "size": "24MiB",
            "zone_size": "1MiB",
            "conventional": 4,
            "max_open": 6,
            "logical_block": 4096,
            "unrestricted_read": unrestricted,
        },
        block=unrestricted,
    )
    # Which tests are run: all, or those that options of zbc_test.sh name.
    options = os.environ.get("ZONED_LIBZBC_OPTIONS", "")
    script = f"suite={suite}\n{SETUP}\nbash ./zbc_test.sh -n {options} $sg || true"
    told = plain(disk.run(script, timeout=HOURS))
    ends = Counter(re.findall(r"\[([A-Z][A-Za-z/]+)\b.*\]$", told, re.MULTILINE))
    note(f"libzbc, {'with' if unrestricted else 'without'} URSWRZ: {dict(ends)}")
    assert ends["Passed"] >= (100 if not options else 1), told
    assert set(ends) <= {"Passed", "N/A"}, told


def test_blktests(kernel: lab.Kernel, attach: Attach, needs: Needs) -> None:
    """The seven tests of zoned block devices in general; those behind them are for what the kernel itself emulates."""
    suite = copied(kernel, needs, "ZONED_BLKTESTS", "check")
    shutil.copy(next(lab.prepare().vmlinuz.parent.glob("config-*")), kernel.share / "config")
    disk = attach(disk={"size": "1GiB", "zone_size": "16MiB", "conventional": 8, "max_open": 12})
    told = disk.run(
        f"""suite={suite}
        {SETUP}
        cp /job/config /boot/config-$(uname -r)
        echo "TEST_DEVS=($disk)" >config; echo "QUICK_RUN=1 TIMEOUT=30" >>config
        ./check -q zbd/001 zbd/002 zbd/003 zbd/004 zbd/005 zbd/006 zbd/007 || true
        """,
        timeout=3600,
    )
    ends = dict(re.findall(r"^zbd/(\d+).*\[([a-z ]+)\]\s*$", plain(told), re.MULTILINE))
    # 007 is about disks that lie on others: on one that does not it is left out, and says so.
    assert ends == {**{f"00{number}": "passed" for number in range(1, 7)}, "007": "not run"}, told
