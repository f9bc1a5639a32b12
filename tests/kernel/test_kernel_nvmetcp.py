"""The stock NVMe/TCP host of a real kernel discovers and connects a disk, with digests and DH-HMAC-CHAP, and finds a ZNS drive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from kernel import lab
from kernel.attaching import Run, served
from nvmetcp.host import secret

pytestmark = pytest.mark.kernel
SERIAL = count(1)


@pytest.fixture
def serve(kernel: lab.Kernel, tools: Callable[..., None]) -> Iterator[Callable[..., Run]]:
    """``serve(disk={...}, **export)`` gives what runs a script that knows what the door knows."""
    tools("nvme", package="nvme-cli")
    with ExitStack() as stack:

        def make(*, disk: dict[str, Any], **export: Any) -> Run:
            name = f"nvme{next(SERIAL)}"
            return stack.enter_context(served(kernel, name, door="nvme", disk=disk, export=export))

        yield make


USE = """
nvme discover $(where) | grep subnqn
connect -i 2 $HOW
find_disks
for limit in zoned nr_zones max_open_zones max_active_zones chunk_sectors; do
    echo "$limit $(cat $sys/queue/$limit)"
done
head -c 262144 /dev/urandom >/tmp/data
dd if=/tmp/data of=$disk bs=64k oflag=direct status=none
dd if=$disk bs=64k count=4 iflag=direct status=none | cmp - /tmp/data && echo "the same data"
blkzone report -c 1 $disk
nvme write $disk -s 2000 -c 0 -z 4096 -d /tmp/data 2>&1 || echo refused
nvme zns report-zones $disk -d 2 | tail -n 2
blkzone reset -c 1 $disk
blkzone report -c 1 $disk
if [ -n "$plain" ]; then
    dd if=/tmp/data of=$plain bs=4k seek=100 oflag=direct status=none
    dd if=$plain bs=4k skip=100 count=64 iflag=direct status=none | cmp - /tmp/data && echo "the same, anywhere"
fi
dmesg | tail -n 40
"""


def test_a_stock_kernel_connects_a_disk(serve: Callable[..., Run]) -> None:
    run = serve(
        disk={
            "zones": 16,
            "zone_size": "4MiB",
            "conventional": 2,
            "max_open": 4,
            "max_active": 6,
            "append_limit": "64KiB",
        }
    )
    told = run("HOW=\n" + USE)
    assert "subnqn:  nqn.2026-01.test:nvme" in told
    for line in (
        "zoned host-managed",
        "nr_zones 14",
        "max_open_zones 4",
        "max_active_zones 6",
        "chunk_sectors 8192",
    ):
        assert line in told, told
    assert "the same data" in told
    assert "the same, anywhere" in told
    assert "wptr 0x000200" in told  # sectors
    assert "(0x41bc)" in told or "(0x61bc)" in told, told  # zone invalid write
    assert "refused" in told
    assert "zcond: 1(em)" in told


KEY, OWN = secret(bytes(range(32)), 1), secret(bytes(range(48)), 2)

PROVE = f"""
connect -S '{OWN}' && echo wrongly
connect -S '{KEY}' -C '{KEY}' && echo wrongly
connect && echo wrongly
true
"""


def test_dhchap_and_digests(serve: Callable[..., Run]) -> None:
    run = serve(disk={"zones": 8, "zone_size": "4MiB"}, dhchap=[KEY, OWN])
    told = run("set +e\n" + PROVE)
    assert "wrongly" not in told
    told = run(f"HOW='-S {KEY} -C {OWN} -g -G'\n{USE}")
    assert "the same data" in told, told
    assert "controller authenticated" in told, told
    assert "dhgroup ffdhe2048" in told
