"""The speed of `zonedctl export nvme` as ratios: fio on it against the same fio on the kernel's own
nvmet-tcp over null_blk (memory backed, zoned), both over loopback with two queues, all in one boot
of the kernel lab (inlab.py says how).

    python bench/nvme_ratios.py              the table
    python bench/nvme_ratios.py --strict     exit 1 if a target is missed
    python bench/nvme_ratios.py --json FILE  the figures for programs too

A benchmark is no test: without --strict the exit code is 0 whatever the figures. Needs what the
kernel lab needs (tests/kernel/lab.py), fio, blkzone and nvme-cli.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from inlab import MIB, ZONE_MIB, Case, parser_of, table

from kernel.attaching import loading
from kernel.lab import CHECKSUMS

KERNEL = "nvmet-tcp"
CASES = [
    Case("write", "4k", 1, {KERNEL: 0.5}),
    Case("randread", "4k", 1, {KERNEL: 0.5}),
    Case("randwrite", "4k", 32, {KERNEL: 1.0}),
    Case("randread", "4k", 32, {KERNEL: 1.0}),
]

# One namespace each. The names of both hosts' disks are found by their subsystem.
BEGIN = f"""
{loading(*CHECKSUMS, "nvme-tcp")}
modprobe nvmet-tcp
mkdir -p /etc/nvme
echo nqn.2014-08.org.nvmexpress:uuid:6d1a2e60-6c1b-4a5d-9b6a-0d9a1e7c1b11 >/etc/nvme/hostnqn
echo 6d1a2e60-6c1b-4a5d-9b6a-0d9a1e7c1b11 >/etc/nvme/hostid

c=/sys/kernel/config/nvmet THEIRS=nqn.2026-01.bench:kernel OURS=nqn.2026-01.bench:zoned
s=$c/subsystems/$THEIRS; mkdir $s; echo 1 >$s/attr_allow_any_host
n=$s/namespaces/1; mkdir $n; echo -n /dev/nullb0 >$n/device_path; echo 1 >$n/enable
p=$c/ports/1; mkdir $p
echo tcp >$p/addr_trtype; echo ipv4 >$p/addr_adrfam
echo 127.0.0.1 >$p/addr_traddr; echo 4420 >$p/addr_trsvcid
ln -s $s $p/subsystems/$THEIRS

zonedctl() {{ "$PYTHON" -P -m zoned "$@"; }}
shape="--size {MIB}M --zone-size {ZONE_MIB}M --conventional 0 --dialect zns"
zonedctl create /dev/shm/d.img $shape >/dev/null
zonedctl export nvme /dev/shm/d.img --listen 127.0.0.1:4421 --nqn $OURS >/run/bench.log 2>&1 &
server=$!

disk() {{
    tries=0
    until nvme connect -t tcp -a 127.0.0.1 -s $2 -n $1 -i 2 >/run/bench.said 2>&1; do
        kill -0 $server; tries=$((tries + 1))
        [ $tries -lt 100 ] || {{ cat /run/bench.said /run/bench.log; exit 1; }}
        sleep 0.2
    done
    found= tries=0
    until [ -n "$found" ]; do
        tries=$((tries + 1)); [ $tries -lt 100 ] || {{ dmesg | tail; exit 1; }}
        for subsystem in /sys/class/nvme-subsystem/nvme-subsys*; do
            [ "$(cat $subsystem/subsysnqn)" = $1 ] || continue
            for each in $subsystem/nvme*n* $subsystem/nvme*/nvme*n*; do
                case $each in */nvme*c*n*) continue ;; esac
                [ -e $each/queue/zoned ] && [ $(cat $each/queue/nr_zones) != 0 ] || continue
                found=${{each##*/}}
            done
        done
        sleep 0.2
    done
    echo $found
}}
theirs=$(disk $THEIRS 4420)
device {KERNEL} $theirs
ours=$(disk $OURS 4421)
device zoned $ours
"""


def main() -> int:
    return table(parser_of(__doc__).parse_args(), "zoned", CASES, BEGIN)


if __name__ == "__main__":
    sys.exit(main())
