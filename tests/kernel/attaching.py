"""An exported disk, attached by the open-iscsi of the lab's kernel: how every test of an exported disk begins.

The target runs in the guest too, in the Python that the guest has, on a disk in RAM.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cffi_backend
import humanize

from kernel import lab

ROOT = Path(__file__).parents[2]

SERVE = """
import json, sys
sys.path.insert(0, "/job/packages")
import zoned
asked = json.loads(sys.argv[1])
with zoned.memory(**asked["disk"]) as disk:
    if asked["zonefs"]:
        import zonefs
        zonefs.mkfs(disk)
    with zoned.export.iscsi(disk, iqn=asked["iqn"], **asked["export"]) as target:
        with open(asked["ready"], "w") as ready:
            ready.write(target.address)
        target.wait()
"""

# What both ends of an attachment know: where the target's own folder is, and the session of its name.
COMMON = """
set -eu
session() {
    for session in /sys/class/iscsi_session/session*; do
        if [ -e $session ] && [ "$(cat $session/targetname)" = "$IQN" ]; then echo $session; fi
    done
}
"""

ATTACH = """
# What is built into the kernel is no module, and one of the checksums is for other processors.
for module in sd_mod sg crc32c_generic crc32c_intel iscsi_tcp; do modprobe -q $module || true; done
mkdir -p /run/lock/iscsi /etc/iscsi
if [ ! -e /run/iscsid.pid ]; then
    echo InitiatorName=iqn.2026-01.test:kernel >/etc/iscsi/initiatorname.iscsi
    iscsid -f >/run/iscsid.log 2>&1 & echo $! >/run/iscsid.pid
fi
# 20: nobody listens to iscsiadm; 21: there is no session.
until iscsiadm -m session >/dev/null 2>&1 || [ $? != 20 ]; do kill -0 $(cat /run/iscsid.pid); sleep 0.2; done
rm -f /run/$NAME.address
"$PYTHON" /job/serve.py "$ASKED" >/run/$NAME.log 2>&1 & echo $! >/run/$NAME.pid
until [ -s /run/$NAME.address ]; do kill -0 $(cat /run/$NAME.pid) || { cat /run/$NAME.log; exit 1; }; sleep 0.2; done
address=$(cat /run/$NAME.address)
iscsiadm -m discovery -t st -p $address >/dev/null
set_to() { iscsiadm -m node -T $IQN -p $address -o update -n "$1" -v "$2"; }
eval "$SETTINGS"
iscsiadm -m node -T $IQN -p $address --login >/dev/null
until set -- $(session)/device/target*/*/scsi_generic/sg* && [ -e "$1" ]; do sleep 0.2; done
device=${1%/scsi_generic/*}
if [ $BLOCK = True ]; then
    until set -- $device/block/sd* && [ -e "$1" ] && [ "$(cat $1/queue/nr_zones)" != 0 ]; do sleep 0.2; done
    basename $1
fi
echo /dev/$(basename $device/scsi_generic/sg*)
"""

DETACH = """
if [ -n "$(session)" ]; then iscsiadm -m node -T $IQN -u >/dev/null; fi
if [ -e /run/$NAME.pid ]; then
    pid=$(cat /run/$NAME.pid)
    kill $pid 2>/dev/null || true
    while [ -d /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status; do sleep 0.2; done
    rm /run/$NAME.pid
fi
"""


@dataclass(frozen=True)
class Attached:
    """A disk that the kernel has; ``name`` is ``sda``, or empty if it is not to be a block device."""

    kernel: lab.Kernel
    name: str
    sg: str

    def run(self, script: str, *, timeout: float = 600.0, fails: bool = False) -> str:
        """What a shell script says, which knows $disk, $sg and $sys (of the block device) and ends at what
        first fails. It has to end well, or, if it ``fails``, badly.
        """
        known = f"set -eu\ndisk=/dev/{self.name} sg={self.sg} sys=/sys/block/{self.name}\n"
        done = self.kernel.run(known + script, timeout=timeout)
        assert (done.status != 0) == fails, f"status {done.status}:\n{done.output}"
        return done.output


@contextlib.contextmanager
def attached(
    kernel: lab.Kernel,
    name: str,
    *,
    disk: Mapping[str, Any],
    export: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
    block: bool = True,
    zonefs: bool = False,
    timeout: float = 900.0,
) -> Iterator[Attached]:
    """Serve ``zoned.memory(**disk)`` as ``zoned.export.iscsi(disk, **export)`` and log in, with ``settings`` of open-iscsi.

    ``block``: wait until it is a zoned block device, too. ``zonefs``: make one on the disk before. The end logs out and ends the target.
    """
    packages = kernel.share / "packages"
    if not packages.exists():
        packages.mkdir()
        # The guest's Python has no packages but its own.
        for folder in (ROOT / "zoned", ROOT / "zonefs", Path(humanize.__file__).parent):
            shutil.copytree(folder, packages / folder.name, dirs_exist_ok=True)
        shutil.copy(_cffi_backend.__file__, packages)
    (kernel.share / "serve.py").write_text(SERVE)
    iqn = f"iqn.2026-01.test:{name}"
    asked = {
        "disk": dict(disk),
        "export": dict(export or {}),
        "zonefs": zonefs,
        "iqn": iqn,
        "ready": f"/run/{name}.address",
    }
    known = {
        "PYTHON": lab.python(),
        "NAME": name,
        "IQN": iqn,
        "ASKED": json.dumps(asked),
        "SETTINGS": "\n".join(
            f"set_to {shlex.quote(key)} {shlex.quote(value)}"
            for key, value in (settings or {}).items()
        ),
        "BLOCK": str(block),
    }
    head = "".join(f"{key}={shlex.quote(value)}\n" for key, value in known.items()) + COMMON
    try:
        done = kernel.run(head + ATTACH, timeout=timeout)
        assert done.status == 0, done.output
        *found, sg = done.output.split()
        yield Attached(kernel, found[-1] if found else "", sg)
    finally:
        if kernel.alive:
            done = kernel.run(head + DETACH, timeout=timeout)
            assert done.status == 0, done.output
