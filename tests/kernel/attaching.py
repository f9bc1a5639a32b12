"""An exported disk, attached by the lab's kernel at one of three doors: how every test of an exported disk begins.

``iscsi`` is the kernel's open-iscsi, ``nvme`` its NVMe/TCP host, ``ublk`` a block device without a network. What serves
the disk runs in the guest too, in the Python that the guest has, on a disk in RAM, and tells the disk's own report.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _cffi_backend
import click
import humanize
import sortedcontainers

from kernel import lab

ROOT = Path(__file__).parents[2]

# A server leaves as if by Ctrl-C, so that its block device is gone too. SIGUSR1 asks for the report, which a thread
# gives; so it is blocked before there is any.
SERVE = """
import contextlib, json, os, signal, sys, threading
sys.path.insert(0, "/job/packages")
import zoned
asked = json.loads(sys.argv[1])
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

def tell(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)

def reports():
    while True:
        signal.sigwait({signal.SIGUSR1})
        if os.path.exists(asked["dying"]):
            with open(asked["dying"]) as file:
                zone, condition = file.read().split()
            os.unlink(asked["dying"])
            disk.set_condition(int(zone), zoned.ZoneCondition[condition])
        zones = [[z.start, z.wp, z.condition.name, z.capacity] for z in disk.report()]
        tell(asked["zones"], json.dumps(zones))

with zoned.memory(**asked["disk"]) as disk:
    if asked["zonefs"]:
        import zonefs
        zonefs.mkfs(disk)
    threading.Thread(target=reports, daemon=True).start()
    with getattr(zoned.export, asked["door"])(disk, **asked["export"]) as target:
        tell(asked["ready"], getattr(target, asked["says"]))
        with contextlib.suppress(KeyboardInterrupt):
            target.wait()
"""

# What every script of an attachment knows. own: the report of the disk itself, in JSON. dies ZONE CONDITION: by itself, it
# becomes READ_ONLY or OFFLINE.
COMMON = """
set -eu
# One that has ended and is waited for by nobody is a process still.
lives() { [ -d /proc/$1 ] && ! grep -q '^State:.Z' /proc/$1/status; }
serves() { lives $(cat /run/$NAME.pid) || { cat /run/$NAME.log; exit 1; }; }
own() {
    rm -f /run/$NAME.zones; kill -USR1 $(cat /run/$NAME.pid)
    until [ -e /run/$NAME.zones ]; do serves; sleep 0.05; done
    cat /run/$NAME.zones; echo
}
dies() { echo "$@" >/run/$NAME.dying; own >/dev/null; }
"""

BEGIN = """
rm -f /run/$NAME.ready
"$PYTHON" /job/serve.py "$ASKED" >/run/$NAME.log 2>&1 & echo $! >/run/$NAME.pid
until [ -s /run/$NAME.ready ]; do serves; sleep 0.2; done
"""

END = """
if [ -e /run/$NAME.pid ]; then
    pid=$(cat /run/$NAME.pid)
    kill $pid 2>/dev/null || true
    while lives $pid; do sleep 0.2; done
    rm /run/$NAME.pid
fi
"""


def loading(*modules: str) -> str:
    """What is built into the kernel is no module, and one of the check sums is for other processors."""
    return f"for module in {' '.join(modules)}; do modprobe -q $module || true; done\n"


@dataclass(frozen=True)
class Door:
    """How a kernel comes by a disk: scripts, which know what COMMON and ``known`` say."""

    says: str
    """What the host has to know of the export: an attribute of it, in /run/$NAME.ready."""
    prepare: str
    """Before the server: modules and what the host is called."""
    known: str
    attach: str
    """Tells the names of block device, of the one for conventional zones and of the node of sg; - for what there is not."""
    detach: str
    named: str = ""
    """The keyword of the export that takes ``$IQN``."""
    dialect: str = "zbc"


ISCSI = Door(
    says="address",
    named="iqn",
    prepare=loading("sd_mod", "sg", *lab.CHECKSUMS, "iscsi_tcp")
    + """
mkdir -p /run/lock/iscsi /etc/iscsi
if [ ! -e /run/iscsid.pid ]; then
    echo InitiatorName=iqn.2026-01.test:kernel >/etc/iscsi/initiatorname.iscsi
    iscsid -f >/run/iscsid.log 2>&1 & echo $! >/run/iscsid.pid
fi
# 20: nobody listens to iscsiadm; 21: there is no session.
until iscsiadm -m session >/dev/null 2>&1 || [ $? != 20 ]; do lives $(cat /run/iscsid.pid); sleep 0.2; done
""",
    known="""
session() {
    for session in /sys/class/iscsi_session/session*; do
        if [ -e $session ] && [ "$(cat $session/targetname)" = "$IQN" ]; then echo $session; fi
    done
}
""",
    attach="""
address=$(cat /run/$NAME.ready)
iscsiadm -m discovery -t st -p $address >/dev/null
set_to() { iscsiadm -m node -T $IQN -p $address -o update -n "$1" -v "$2"; }
eval "$SETTINGS"
iscsiadm -m node -T $IQN -p $address --login >/dev/null
until set -- $(session)/device/target*/*/scsi_generic/sg* && [ -e "$1" ]; do sleep 0.2; done
device=${1%/scsi_generic/*} found=-
if [ $BLOCK = True ]; then
    until set -- $device/block/sd* && [ -e "$1" ] && [ "$(cat $1/queue/nr_zones)" != 0 ]; do sleep 0.2; done
    found=$(basename $1)
fi
echo $found - /dev/$(basename $device/scsi_generic/sg*)
""",
    detach="""
if [ -n "$(session)" ]; then iscsiadm -m node -T $IQN -u >/dev/null; fi
""",
)

NVME = Door(
    says="port",
    named="nqn",
    dialect="zns",
    prepare=loading(*lab.CHECKSUMS, "nvme-tcp")
    + """
mkdir -p /etc/nvme
echo nqn.2014-08.org.nvmexpress:uuid:6d1a2e60-6c1b-4a5d-9b6a-0d9a1e7c1b11 >/etc/nvme/hostnqn
echo 6d1a2e60-6c1b-4a5d-9b6a-0d9a1e7c1b11 >/etc/nvme/hostid
""",
    known="""
where() { echo "-t tcp -a 127.0.0.1 -s $(cat /run/$NAME.ready)"; }
connect() { nvme connect $(where) -n $IQN "$@"; }
# Block devices of the subsystem: by what they are, as their order is that in which the kernel came by them.
find_disks() {
    disk= plain= tries=0
    until [ -n "$disk" ] && { [ $CONVENTIONAL = 0 ] || [ -n "$plain" ]; }; do
        tries=$((tries + 1)); [ $tries -lt 300 ] || { dmesg | tail -n 20; ls /sys/block; exit 1; }
        for subsystem in /sys/class/nvme-subsystem/nvme-subsys*; do
            [ "$(cat $subsystem/subsysnqn 2>/dev/null)" = $IQN ] || continue
            for each in $subsystem/nvme*n* $subsystem/nvme*/nvme*n*; do
                case $each in */nvme*c*n*) continue ;; esac # a path of a multipath disk, which has no node
                [ -e $each/queue/zoned ] || continue
                if [ $(cat $each/queue/zoned) = host-managed ]
                then [ $(cat $each/queue/nr_zones) = 0 ] || disk=/dev/${each##*/} sys=/sys/block/${each##*/}
                else plain=/dev/${each##*/}; fi
            done
        done
        sleep 0.2
    done
}
# The controller's node, as nvme0, of what is connected.
controller() {
    for each in /sys/class/nvme/nvme*; do
        if [ "$(cat $each/subsysnqn 2>/dev/null)" = $IQN ]; then basename $each; fi
    done
}
""",
    attach="""
connect -i 2 $SETTINGS >/dev/null
find_disks
echo ${disk#/dev/} ${plain:--} -
""",
    detach="""
if [ -n "$(controller)" ]; then nvme disconnect -n $IQN >/dev/null; fi
""",
)

UBLK = Door(
    says="path",
    prepare="modprobe ublk_drv\n",
    known="",
    attach="echo $(basename $(cat /run/$NAME.ready)) - -\n",
    detach="",
)

DOORS = {"iscsi": ISCSI, "ublk": UBLK, "nvme": NVME}


Run = Callable[..., str]


@dataclass(frozen=True)
class Attached:
    """A disk that the kernel has; ``name`` is ``sda``, or empty if it is not to be a block device; ``plain`` is the node of
    its conventional zones, where they are a disk of their own.
    """

    kernel: lab.Kernel
    door: str
    name: str
    plain: str
    sg: str
    run_known: Run

    def run(self, script: str, *, timeout: float = 600.0, fails: bool = False) -> str:
        """What a shell script says, which knows $disk, $plain, $sg and $sys (of the block device), what the door knows, and
        ``own``, the report of the disk itself; it ends at what first fails. It has to end well, or, if it ``fails``, badly.
        """
        known = (
            f"disk=/dev/{self.name} plain={self.plain} sg={self.sg} sys=/sys/block/{self.name}\n"
        )
        return self.run_known(known + script, timeout=timeout, fails=fails)


def bring_packages(kernel: lab.Kernel) -> None:
    """What the guest's Python, which has no packages but its own, needs to serve a disk: /job/packages."""
    packages = kernel.share / "packages"
    if packages.exists():
        return
    packages.mkdir()
    others = [Path(str(module.__file__)).parent for module in (click, humanize, sortedcontainers)]
    for folder in (ROOT / "zoned", ROOT / "zonefs", *others):
        shutil.copytree(folder, packages / folder.name, dirs_exist_ok=True)
    shutil.copy2(_cffi_backend.__file__, packages)


@contextlib.contextmanager
def served(
    kernel: lab.Kernel,
    name: str,
    *,
    door: str = "iscsi",
    disk: Mapping[str, Any],
    export: Mapping[str, Any] | None = None,
    settings: str = "",
    block: bool = True,
    zonefs: bool = False,
) -> Iterator[Run]:
    """Serve ``zoned.memory(**disk)`` at a door; gives ``run(script)``, which knows what the door knows and $SETTINGS.

    The end detaches and ends the server.
    """
    bring_packages(kernel)
    (kernel.share / "serve.py").write_text(SERVE)
    at = DOORS[door]
    iqn = f"{'nqn' if door == 'nvme' else 'iqn'}.2026-01.test:{name}"
    asked = {
        "door": door,
        "says": at.says,
        "disk": {"dialect": at.dialect} | dict(disk),
        "export": ({at.named: iqn} if at.named else {}) | dict(export or {}),
        "zonefs": zonefs,
        "dying": f"/run/{name}.dying",
        "ready": f"/run/{name}.ready",
        "zones": f"/run/{name}.zones",
    }
    known = {
        "PYTHON": lab.python(),
        "NAME": name,
        "IQN": iqn,
        "ASKED": json.dumps(asked),
        "SETTINGS": settings,
        "BLOCK": str(block),
        "CONVENTIONAL": str(disk.get("conventional", 0)),
    }
    head = lab.assignments(**known) + COMMON + at.known

    def run(script: str, *, timeout: float = 900.0, fails: bool = False) -> str:
        done = kernel.run(head + script, timeout=timeout)
        assert (done.status != 0) == fails, f"status {done.status}:\n{done.output}"
        return done.output

    try:
        run(at.prepare + BEGIN)
        yield run
    finally:
        if kernel.alive:
            run(at.detach + END)


@contextlib.contextmanager
def attached(
    kernel: lab.Kernel,
    name: str,
    *,
    door: str = "iscsi",
    settings: Mapping[str, str] | str = "",
    timeout: float = 900.0,
    **how: Any,
) -> Iterator[Attached]:
    """``served``, and attached: with ``settings`` of open-iscsi by name, or options of ``nvme connect``.

    ``block``: wait until it is a zoned block device, too. ``zonefs``: make one on the disk before.
    """
    if not isinstance(settings, str):
        settings = "\n".join(
            f"set_to {shlex.quote(key)} {shlex.quote(value)}" for key, value in settings.items()
        )
    with served(kernel, name, door=door, settings=settings, **how) as run:
        found = run(DOORS[door].attach, timeout=timeout).split()
        names = ["" if one == "-" else one for one in found[-3:]]
        yield Attached(kernel, door, *names, run)
