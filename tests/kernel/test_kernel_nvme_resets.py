"""A host that resets its controller, or goes, while fio writes: what was acknowledged is there, and reads go on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from kernel import lab
from kernel.attaching import attached

pytestmark = pytest.mark.kernel
ZONE = 4 << 20
EACH = 3
"""Zones that a load fills."""

# Seen on Linux 6.12 with multipath: a write that went again behind a reset and was refused as one that is not at the write
# pointer left "percpu_ref underflow" in the log, and every write behind it hung. So the disk has one path, and no other.
ONE_PATH = """
set -eu
modprobe -q -r nvme-tcp || true; modprobe -q -r nvme-fabrics || true; modprobe -q -r nvme-core || true
modprobe nvme-core multipath=N
[ $(cat /sys/module/nvme_core/parameters/multipath) = N ]
"""
ANY_PATH = "modprobe -q -r nvme-tcp nvme-fabrics nvme-core || true"

# A load that is under way: $1 writes of it are done. A write that took effect and whose answer a reset swallowed is sent
# again by the host, and refused, as it is by any ZNS drive: so a load may end with an error, and goes on nowhere.
LOADS = f"""
rm -rf /run/loads; mkdir /run/loads
load() {{
    read -r _ _ _ _ before _ <$sys/stat
    fio --name=w --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd --rw=write --bs=4k \\
        --offset=$((n * {EACH * ZONE})) --size={EACH * ZONE} --rate_iops=1500 --verify=pattern --verify_pattern=%o \\
        --do_verify=0 --write_lat_log=/run/loads/$n --log_offset=1 >/run/loads/$n.out 2>&1 & fio=$!
    n=$((n + 1))
    until read -r _ _ _ _ now _ <$sys/stat && [ $((now - before)) -ge $1 ]; do
        kill -0 $fio || {{ echo "too early"; cat /run/loads/*.out; exit 1; }}
        sleep 0.05
    done
}}
ended() {{ if wait $fio; then echo "went through"; else echo "ended early"; fi; }}
"""

RESETS = """
fio --name=fill --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd --rw=write --bs=64k --size=8M \\
    --verify=crc32c --do_verify=0 >/dev/null
rm -f /run/enough
(
    while [ ! -e /run/enough ]; do
        fio --name=r --filename=$disk --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd --rw=randread --bs=64k \\
            --size=8M --verify=crc32c --verify_fatal=1 >/run/reader.out 2>&1 || { cat /run/reader.out; exit 1; }
    done
) & reader=$!
n=1
for after in $AFTER; do load $after; nvme reset /dev/$(controller); echo reset; ended; done
touch /run/enough; wait $reader
"$PYTHON" /job/guest_acknowledged.py $disk /run/loads
"""

GONE = """
n=0
for after in $AFTER; do
    load $after; nvme disconnect -n $IQN >/dev/null; echo disconnected
    if wait $fio; then echo "went through with nothing behind it"; exit 1; fi
    connect -i 2 >/dev/null; find_disks
done
"$PYTHON" /job/guest_acknowledged.py $disk /run/loads
"""


@pytest.mark.long
@pytest.mark.parametrize("way", [RESETS, GONE], ids=["reset", "disconnect"])
def test_what_was_acknowledged_is_there(
    kernel: lab.Kernel,
    tools: Callable[..., None],
    long_run: bool,
    note: Callable[[str], None],
    way: str,
) -> None:
    tools("nvme", package="nvme-cli")
    tools("fio", package="fio")
    shutil.copy(Path(__file__).with_name("guest_acknowledged.py"), kernel.share)
    times = 20 if long_run else 2
    draw = Random(times)
    after = " ".join(str(draw.randrange(20, 600)) for _ in range(times))
    disk_shape = {"zones": EACH * (times + 1), "zone_size": ZONE, "conventional": 0}
    word = "reset" if way is RESETS else "disconnected"
    alone = kernel.run(ONE_PATH)
    assert alone.status == 0, alone.output
    with attached(kernel, f"kicked-{word}", door="nvme", disk=disk_shape) as disk:
        told = disk.run(f"AFTER='{after}'\n{LOADS}{way}", timeout=3600)
        zones = json.loads(disk.run("own"))
    kernel.run(ANY_PATH)
    assert len(re.findall(f"^{word}$", told, re.MULTILINE)) == times, told
    found = json.loads(told.splitlines()[-1])
    note(f"nvme, {word} {times} times under fio: {found['acknowledged']} blocks acknowledged")
    assert found["lost"] == [], told
    assert found["acknowledged"] >= 20 * times, told
    written = sum(capacity if wp is None else wp - start for start, wp, _, capacity in zones)
    assert written >= 4096 * found["acknowledged"]
