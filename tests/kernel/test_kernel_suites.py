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
from kernel.attaching import DOORS, attached
from kernel.conftest import Attach, Boots, need
from run.suites import LIBZBC, ends_of_libzbc, plain

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
    told = disk.run(script, timeout=HOURS)
    ends = Counter(ends_of_libzbc(told).values())
    note(f"libzbc, {'with' if unrestricted else 'without'} URSWRZ: {dict(ends)}")
    if options:
        assert ends["Passed"] >= 1, told
        assert ends.keys() <= LIBZBC.keys(), told
    else:
        assert ends == LIBZBC, told


ZBD = tuple(f"zbd/00{number}" for number in range(1, 8))
"""The tests of zoned block devices in general; those behind them are for what the kernel itself emulates."""
NVME = ("nvme/046", "nvme/049", "nvme/053")
"""Of NVMe, those that take a device as it is, by whatever transport; and none with zones, so they get the namespace of the
conventional ones."""


@pytest.mark.parametrize("door", DOORS)
def test_blktests(door: str, boots: Boots, needs: Needs) -> None:
    need(needs, door)
    kernel = boots.kernel()
    suite = copied(kernel, needs, "ZONED_BLKTESTS", "check")
    shutil.copy(next(lab.prepare().vmlinuz.parent.glob("config-*")), kernel.share / "config")
    shape = {"size": "1GiB", "zone_size": "16MiB", "conventional": 8, "max_open": 12}
    also = f"check $plain {' '.join(NVME)}" if door == "nvme" else ""
    with attached(kernel, f"blktests-{door}", door=door, disk=shape) as disk:
        told = disk.run(
            f"""suite={suite}
            {SETUP}
            # It takes versions apart at their dots, and Debian's have letters behind the last one.
            version=$(uname -r | cut -d. -f1,2).0
            mkdir /tmp/bin; export PATH=/tmp/bin:$PATH
            printf '#!/bin/sh\n[ "$1" != -r ] && exec /bin/uname "$@"; echo %s\n' $version >/tmp/bin/uname
            # su wants more of the guest than there is.
            printf '#!/bin/sh\nexec setpriv --reuid=1234 --regid=1234 --clear-groups sh -c "$3"\n' >/tmp/bin/su
            chmod +x /tmp/bin/*
            cp /job/config /boot/config-$version
            echo someone:x:1234:1234::/:/bin/sh >>/etc/passwd
            check() {{
                echo "TEST_DEVS=($1)" >config; echo "QUICK_RUN=1 TIMEOUT=30 NORMAL_USER=someone" >>config; shift
                ./check -q "$@" || true
            }}
            check $disk {" ".join(ZBD)}
            {also}
            """,
            timeout=3600,
        )
    ends = dict(re.findall(r"^(\w+/\d+).*\[([a-z ]+)\]\s*$", plain(told), re.MULTILINE))
    # 007 is about disks that lie on others: on one that does not it is left out, and says so.
    wanted = (*ZBD, *(NVME if door == "nvme" else ()))
    assert ends == dict.fromkeys(wanted, "passed") | {"zbd/007": "not run"}, told
