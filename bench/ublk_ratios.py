"""The speed of a ublk device as ratios: fio on it against the same fio on null_blk (memory backed,
zoned), and on scsi_debug, all in one boot of the kernel lab (inlab.py says how).

    python bench/ublk_ratios.py SERVER              the table; SERVER: ublkserver, built
    python bench/ublk_ratios.py SERVER --strict     exit 1 if a target is missed
    python bench/ublk_ratios.py SERVER --json FILE  the figures for programs too

``make -C tests/native ../../build/native-tests/ublkserver`` builds the server. A benchmark is no
test: without --strict the exit code is 0 whatever the figures. Needs what the kernel lab needs
(tests/kernel/lab.py), fio and blkzone.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from inlab import MIB, ZONE_MIB, Case, parser_of, table

NULL, SCSI = "null_blk", "scsi_debug"
CASES = [
    Case("write", "4k", 1, {NULL: 0.25, SCSI: 0.8}),
    Case("randread", "4k", 1, {NULL: 0.25, SCSI: 0.8}),
    Case("randread", "4k", 32, {NULL: 1.0}),
    Case("write", "1m", 1, {NULL: 1.0}),
    Case("read", "1m", 4, {NULL: 1.0}),
]

BEGIN = f"""
modprobe ublk_drv
modprobe scsi_debug dev_size_mb={MIB} zbc=managed zone_size_mb={ZONE_MIB} sector_size=4096
cp -a /job/$SERVER /tmp
"$PYTHON" -P -m zoned create /dev/shm/d.img --size {MIB}M --zone-size {ZONE_MIB}M >/dev/null
/tmp/$SERVER /dev/shm/d.img /run/bench.state >/run/bench.node 2>&1 &
until [ -s /run/bench.node ]; do sleep 0.1; done
device {NULL} nullb0
for s in /sys/block/sd*; do
    if [ "$(cat $s/queue/zoned)" = host-managed ]; then device {SCSI} $(basename $s); fi
done
device ublk ublkb0
"""


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("server", type=Path)
    options = parser.parse_args()
    begin = f"SERVER={options.server.name}\n{BEGIN}"
    return table(options, "ublk", CASES, begin, [options.server])


if __name__ == "__main__":
    sys.exit(main())
