"""A disk as a block device of the kernel itself: what blkzone, dd, blkdiscard and fio make of it, against the disk's own
report; servers that are killed and go on; and what is said where it cannot be.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import core
from kernel import lab
from kernel.attaching import bring_packages
from kernel.conftest import Boots

pytestmark = pytest.mark.kernel
MIB = 1 << 20

# A server of a disk in RAM, which leaves the disk's own report behind.
SERVE = """
import contextlib, json, signal, sys
sys.path.insert(0, "/tmp/packages")
import zoned
signal.signal(signal.SIGTERM, signal.default_int_handler)
with zoned.memory(**json.loads(sys.argv[1])) as disk:
    with zoned.export.ublk(disk, queues=2) as node:
        with open("/run/node", "w") as ready:
            ready.write(node.path)
        with contextlib.suppress(KeyboardInterrupt):
            node.wait()
        traffic = node.traffic.as_dict()
    zones = [[z.start, z.wp, int(z.condition), int(z.type)] for z in disk.report()]
    with open("/run/left", "w") as out:
        json.dump({"zones": zones, "traffic": traffic, "flushes": disk.counters.flushes}, out)
"""

BEGIN = """
set -eu
modprobe ublk_drv
[ -e /tmp/packages ] || cp -a /job/packages /tmp/packages
export PYTHONPATH=/tmp/packages PYTHONDONTWRITEBYTECODE=1
zonedctl() { "$PYTHON" -P -m zoned "$@"; }
# awaited FILE PID: until the file says something; it must come before the process ends.
awaited() { until [ -s $1 ]; do kill -0 $2; sleep 0.1; done; }
"""


class Guest:
    """The lab's kernel, with everything that a server needs."""

    def __init__(self, kernel: lab.Kernel) -> None:
        bring_packages(kernel)
        (kernel.share / "serve_ublk.py").write_text(SERVE)
        self.kernel = kernel

    def run(self, script: str, *, timeout: float = 1800.0) -> str:
        """What a script says, which has to end well."""
        done = self.kernel.run(
            f"#!/bin/bash\nPYTHON={shlex.quote(lab.python())}\n{BEGIN}\n{script}", timeout=timeout
        )
        assert done.status == 0, f"status {done.status}:\n{done.output}"
        return done.output


@pytest.fixture
def guest(boots: Boots) -> Guest:
    return Guest(boots.kernel())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ublkserver.c, which starts in no time."""
    return core.made("ublkserver", tmp_path_factory.mktemp("ublkserver"))


USE = """
rm -f /run/node /run/left
"$PYTHON" /job/serve_ublk.py "$DISK" >/run/serve.log 2>&1 & server=$!
trap 'kill $server 2>/dev/null || true' EXIT
awaited /run/node $server || { cat /run/serve.log; exit 1; }
disk=$(cat /run/node); queue=/sys/block/$(basename $disk)/queue
echo "limits: $(cat $queue/zoned $queue/nr_zones $queue/max_open_zones $queue/chunk_sectors | tr '\\n' ' ')"
echo "append: $(cat $queue/zone_append_max_bytes)"
head -c 262144 /dev/urandom >/run/data; tail -c 65536 /run/data >/run/tail
dd if=/run/data of=$disk bs=64k seek=64 oflag=direct status=none
dd if=$disk bs=64k skip=64 count=4 iflag=direct status=none | cmp - /run/data
dd if=/run/data of=$disk bs=64k seek=100 count=1 oflag=direct status=none 2>/dev/null && exit 1
dd if=/run/data of=$disk bs=64k seek=0 oflag=direct,dsync status=none
dd if=$disk bs=64k count=4 iflag=direct status=none | cmp - /run/data
blkdiscard -o 65536 -l 65536 $disk
dd if=$disk bs=64k skip=1 count=1 iflag=direct status=none | cmp -n 65536 - /dev/zero
blkdiscard -z -o 131072 -l 65536 $disk
dd if=$disk bs=64k skip=2 count=1 iflag=direct status=none | cmp -n 65536 - /dev/zero
dd if=$disk bs=64k skip=3 count=1 iflag=direct status=none | cmp -n 65536 - /run/tail
# A refused write makes the kernel refuse all writes in that zone (scsi_debug's as well) until it has seen its report.
blkzone report -o $((6 << 11)) -c 1 $disk >/dev/null
blkdiscard -z -o $((6 << 20)) -l 131072 $disk    # at the write pointer of an empty zone: a write like any other
blkzone open -o $((8 << 11)) -c 1 $disk
blkzone open -o $((10 << 11)) -c 1 $disk
blkzone finish -o $((12 << 11)) -c 1 $disk
blkzone close -o $((10 << 11)) -c 1 $disk
dd if=/run/data of=$disk bs=64k seek=$((14 << 4)) oflag=direct status=none conv=fsync
blkzone reset -o $((14 << 11)) -c 1 $disk
for zone in 16 18 20; do blkzone open -o $((zone << 11)) -c 1 $disk; done
blkzone open -o $((22 << 11)) -c 1 $disk 2>/run/refused && exit 1
cat /run/refused
blkzone report $disk >/run/report
kill $server; wait $server || true
[ ! -e $disk ]
cat /run/serve.log
echo "left: $(cat /run/left)"
cat /run/report
"""


def test_a_disk_is_a_block_device(guest: Guest, tools: Callable[..., None]) -> None:
    tools("blkzone", "blkdiscard", package="util-linux")
    disk = {"zones": 16, "zone_size": 2 * MIB, "conventional": 2, "max_open": 4}
    # 4 are open at the end, all by name: the zones of the dd and of its zeros, implicitly open, gave way.
    told = guest.run(f"DISK={shlex.quote(json.dumps(disk))}\n{USE}")
    assert "limits: host-managed 16 4 4096" in told
    assert re.search(r"append: 1048576\n", told)
    left = json.loads(re.search(r"^left: (.*)$", told, re.MULTILINE)[1])  # type: ignore[index]
    rows = re.findall(r"start: 0x(\w+),.* wptr 0x(\w+) .*zcond:\s*(\w+)\(\w+\) \[type: (\d)", told)
    assert len(rows) == 16
    for (start, wp, cond, kind), (zone_start, zone_wp, zone_cond, zone_type) in zip(
        rows, left["zones"], strict=True
    ):
        assert (int(start, 16) * 512, int(cond), int(kind)) == (
            zone_start,
            zone_cond,
            zone_type,
        )
        if zone_wp is not None:
            assert int(wp, 16) * 512 == zone_wp - zone_start
    assert left["zones"][3][1] == left["zones"][3][0] + 131072
    assert left["traffic"]["errors"] >= 2 and left["traffic"]["repeated"] == 0
    assert left["flushes"] >= 1


LIFE = """
cd /run; rm -rf life; mkdir life; mount -t tmpfs -o size=24m tmpfs life; cd life
zonedctl create disk.img --size 16M --zone-size 1M --conventional 2 >/dev/null
node=$(zonedctl export ublk -d disk.img)
[ -b $node ]
pid=$(zonedctl export list --format json | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
zonedctl export ublk -d disk.img 2>&1 && exit 1
head -c 262144 /dev/urandom >/run/data
dd if=/run/data of=$node bs=64k seek=64 oflag=direct status=none
kill -9 $pid
dd if=$node bs=64k skip=64 count=4 iflag=direct status=none >/run/read & reader=$!   # waits for a server
zonedctl export list
zonedctl export ublk -d disk.img
wait $reader; cmp /run/read /run/data
[ "$(zonedctl export list | sed -n 's/^ublk \\(.*\\), pid.*/\\1/p')" = $node ]
echo "full host:"
dd if=/dev/zero of=/run/life/filler bs=1M 2>/dev/null || true
dd if=/dev/zero of=$node bs=1M seek=6 count=8 oflag=direct status=none 2>&1 && exit 1
rm /run/life/filler
echo "stopped:"; zonedctl export stop $node; [ ! -e $node ]
zonedctl export ublk -d disk.img
kill -9 $(zonedctl export list --format json | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
zonedctl export stop disk.img; [ ! -e $node ]
zonedctl export ublk -d disk.img
kill -9 $(zonedctl export list --format json | sed -n 's/.*"pid": \\([0-9]*\\).*/\\1/p')
mv disk.img gone.img; zonedctl export list; [ ! -e $node ]
ls /run/zoned; echo "nobody:"
chmod 644 gone.img
setpriv --reuid 65534 --regid 65534 --clear-groups "$PYTHON" -P -m zoned export ublk --readonly gone.img 2>&1 && exit 1
cd /; umount /run/life
"""


def test_life(guest: Guest, tools: Callable[..., None]) -> None:
    """Started twice, killed, gone on with, on a full host, stopped, stopped while it waits, its image gone, no root."""
    tools("setpriv", package="util-linux")
    told = guest.run(LIFE)
    assert "already, served by process" in told
    assert "whose server was killed" in told and "goes on with it" in told
    full = told.partition("full host:")[2].partition("stopped:")[0]
    assert "No space left on device" in full
    assert "nothing is exported" in told
    assert "needs root (CAP_SYS_ADMIN)" in told.partition("nobody:")[2]


ENDS = """
cd /run; rm -rf ends; mkdir -p ends/logs; cd ends
named() { zonedctl export list | sed -n 's/^ublk \\(.*\\), pid.*/\\1/p'; }

echo "stopped under load:"
zonedctl create a.img --size 64M --zone-size 4M --conventional 1 --force >/dev/null
zonedctl export ublk -d a.img >/dev/null; node=$(named); [ -b $node ]
fio --name=w --filename=$node --direct=1 --ioengine=libaio --iodepth=8 --zonemode=zbd --rw=write --bs=4k --offset=4M --size=60M \\
    --rate_iops=1500 --verify=pattern --verify_pattern=%o --do_verify=0 --write_lat_log=logs/w --log_offset=1 >fio.out 2>&1 & fio=$!
until read -r _ _ _ _ writes _ </sys/block/${node#/dev/}/stat && [ $writes -ge 500 ]; do kill -0 $fio; sleep 0.05; done
zonedctl export stop $node 2>&1
wait $fio && { echo "fio went through"; cat fio.out; exit 1; }
[ ! -e $node ]; zonedctl check a.img
zonedctl export ublk -d a.img >/dev/null; node=$(named)
"$PYTHON" /job/guest_acknowledged.py $node logs
zonedctl export stop a.img; [ ! -e $node ]

echo "started twice at once:"
zonedctl export ublk -d a.img >one 2>&1 & one=$!
zonedctl export ublk -d a.img >two 2>&1 & two=$!
began=0; wait $one && began=$((began + 1)); wait $two && began=$((began + 1))
cat one two
echo "began: $began"; [ "$(named | wc -l)" = 1 ]; node=$(named)
dd if=$node bs=64k skip=64 count=1 iflag=direct status=none >/dev/null

echo "image gone under its server:"
rm a.img; echo "written: $(dd if=/dev/zero of=$node bs=64k count=1 oflag=direct status=none 2>&1 && echo well)"
zonedctl export list
zonedctl export stop $node; [ ! -e $node ]; [ -z "$(named)" ]
zonedctl export ublk -d a.img 2>&1 && exit 1
echo "no export"; ls /run/zoned
"""


@pytest.mark.long
def test_ends(guest: Guest, tools: Callable[..., None]) -> None:
    """Stopped while fio writes, started by two at the same time, and the image taken away from a server that runs."""
    tools("fio", package="fio")
    shutil.copy(Path(__file__).with_name("guest_acknowledged.py"), guest.kernel.share)
    told = guest.run(ENDS)
    load, _, rest = told.partition("started twice at once:")
    twice, _, gone = rest.partition("image gone under its server:")
    found = json.loads(load[load.index('{"acknowledged"') :].splitlines()[0])
    assert found["lost"] == [] and found["acknowledged"] >= 400, told
    assert "began: 1\n" in twice, told
    assert twice.count("already, served by process") == 1, told
    assert "written: well" in gone, told
    assert "a.img: No such file" in gone or "a.img" in gone.splitlines()[-3], told
    assert "no export" in gone, told


# Every other server kills itself behind a write that has taken effect and before it is acknowledged; the others are killed.
KILLS = """
cp /job/ublkserver /run/ublkserver; cd /run; rm -f state enough
zonedctl create kill.img --size 128M --zone-size 4M --conventional 2 --max-open 8 --force >/dev/null
serve() {
    : >/run/said
    /run/ublkserver /run/kill.img /run/state $after >/run/said 2>&1 & server=$!
    awaited /run/said $server || true
    grep -q ^/dev /run/said || { echo "no server after $n kills:"; cat /run/said; exit 1; }
}
n=0 after=; serve; node=$(cat /run/said)
(
    rounds=0
    while [ ! -e /run/enough ]; do
        fio --name=v --filename=$node --direct=1 --ioengine=libaio --zonemode=zbd --rw=write --bs=16k --iodepth=8 \\
            --offset=8M --size=48M --verify=crc32c --verify_fatal=1 --max_open_zones=4 >/run/fio.log 2>&1 || { cat /run/fio.log; exit 1; }
        rounds=$((rounds + 1))
    done
    echo "fio went through $rounds times"
) & fio=$!
while [ $n -lt $KILLS ]; do
    if [ -z "$after" ]; then sleep 0.$((RANDOM % 5 + 1)); kill -9 $server; fi
    wait $server 2>/dev/null || true
    n=$((n + 1))
    if [ -z "$after" ]; then after=$((RANDOM % 50 + 1)); else after=; fi
    serve
    kill -0 $fio 2>/dev/null || { wait $fio; exit 1; }
done
if [ -n "$after" ]; then wait $server 2>/dev/null || true; after=; serve; fi
touch /run/enough; wait $fio
kill $server; wait $server
[ ! -e $node ]
zonedctl check kill.img
echo "killed $n times"
"""


def test_kills(
    guest: Guest,
    server: Path,
    long_run: bool,
    tools: Callable[..., None],
    note: Callable[[str], None],
) -> None:
    """No error and no byte lost, whenever a server is killed."""
    tools("fio", package="fio")
    (guest.kernel.share / "ublkserver").write_bytes(server.read_bytes())
    (guest.kernel.share / "ublkserver").chmod(0o755)
    kills = 200 if long_run else 6
    told = guest.run(f"KILLS={kills}\n{KILLS}", timeout=3 * 3600)
    rounds = re.search(r"fio went through ([1-9]\d*) times", told)
    note(f"ublk: {kills} kills under fio verify: {rounds[0] if rounds else told}")
    assert rounds
    assert f"killed {kills} times" in told
