"""btrfs and f2fs of the kernel on an emulated zoned disk, with the power cut at every point that the workload passes:
each disk that could be left is mounted, checked by the file system's own tools, and every file that was synced is whole.

The workload creates, renames and syncs files on a block device of ublk, while the history is recorded. The survivors are
made of it in the same kernel, each behind a device of its own. The long form tries 2,000 of each file system.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from kernel import lab
from kernel.attaching import bring_packages
from kernel.conftest import Boots

pytestmark = [pytest.mark.kernel, pytest.mark.long]

STATES = 2_000
GEOMETRY = {
    # btrfs keeps its super blocks in the first two zones and wants at least five more of them for each kind of data.
    "btrfs": {"size": "1GiB", "zone_size": "16MiB", "conventional": 0, "max_open": 0},
    # f2fs keeps what it overwrites in conventional zones.
    "f2fs": {"size": "256MiB", "zone_size": "4MiB", "conventional": 8, "max_open": 0},
}

# Runs in the guest: argv[1] is the file system. What it finds is JSON in /job/found.
INSIDE = r"""
import contextlib, hashlib, json, os, subprocess, sys
sys.path.insert(0, "/tmp/packages")
import zoned, zoned.crash
from zoned.archive import copy
from zoned.crash.survivors import States

kind, geometry, most = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
ROUNDS = 80  # fewer leave no 2,000 disks of f2fs that differ
MAKE = {"btrfs": ["mkfs.btrfs", "-q", "-f", "-d", "single", "-m", "single"], "f2fs": ["mkfs.f2fs", "-q", "-f", "-m"]}[kind]
CHECK = {"btrfs": ["btrfs", "check", "--readonly"], "f2fs": ["fsck.f2fs", "--dry-run"]}[kind]
WHERE = "/mnt"


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    return done.returncode, " ".join(words) + ": " + (done.stdout + done.stderr)[-2000:]


def surely(*words):
    status, said = command(*words)
    assert status == 0, said


def sync(path):
    there = os.open(path, os.O_RDONLY)
    os.fsync(there)
    os.close(there)


def put(name, text):
    with open(f"{WHERE}/{name}", "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def content(number):
    return hashlib.sha256(str(number).encode()).digest() * (1 + number * 37 % 3000)


# What was told: a name and the number of what it holds, once that was synced; or no number, before it goes.
def work(mark):
    last = ""
    for number in range(ROUNDS):
        if number % 3 == 0:
            name = f"file{number % 8}"
            put(f"{name}.new", content(number))
            os.rename(f"{WHERE}/{name}.new", f"{WHERE}/{name}")
            sync(WHERE)
        else:
            name = last = f"other{number}"
            put(name, content(number))
        mark(json.dumps([name, number]))
        if number % 7 == 6:
            mark(json.dumps([last, None]))
            os.unlink(f"{WHERE}/{last}")
            sync(WHERE)


# The last word on each name counts; one that is being replaced may hold what comes next already.
def wrong_in(told):
    for name, number in dict(map(json.loads, told)).items():
        if number is None:
            continue
        try:
            with open(f"{WHERE}/{name}", "rb") as file:
                held = file.read()
        except OSError as error:
            return f"{name}: {error}"
        if held not in [content(later) for later in range(number, ROUNDS, 8 if name[0] == "f" else ROUNDS)]:
            return f"{name}: {len(held)} bytes that are not those of {number}"
    return ""


def looked_at(state):
    with copy(state.device, None) as disk, zoned.export.ublk(disk) as node:
        status, said = command(*CHECK, node.path)
        if status and kind == "btrfs":
            return f"check: {said}"
        status, said = command("mount", "-t", kind, node.path, WHERE)
        if status:
            return f"mount: {said}"
        try:
            wrong = wrong_in(state.acknowledged)
            if not wrong and kind == "btrfs":
                status, said = command("btrfs", "scrub", "start", "-B", "-r", WHERE)
                wrong = f"scrub: {said}" if status else ""
        finally:
            surely("umount", WHERE)
        if not wrong and kind == "f2fs":
            status, said = command(*CHECK, node.path)
            wrong = f"fsck behind the mount: {said}" if status else ""
        return wrong


history = "/run/history"
with zoned.memory(**geometry) as disk:
    with zoned.export.ublk(disk) as node:
        surely(*MAKE, node.path)
    with zoned.crash.record(disk, history), zoned.export.ublk(disk) as node:
        surely("mount", "-t", kind, node.path, WHERE)
        work(disk.trace.mark)
        surely("umount", WHERE)

found = {"tried": 0, "lossy": 0, "changes": 0, "marks": 0, "wrong": []}
with zoned.crash.History(history) as told:
    assert told.cut is None, told.cut
    found["changes"], found["marks"] = len(told), len(told.marks)
    seen = set()
    for seed in range(50):  # equal disks are tried once, so it takes more draws than disks
        points = "all" if most > len(told) else f"random:{most}"
        each = max(1, -(-most // (len(told) + 1)))
        for state in States(told, "random", points=points, limit=each, seed=seed):
            if found["tried"] == most or state.digest in seen:
                continue
            seen.add(state.digest)
            wrong = looked_at(state)
            found["tried"] += 1
            found["lossy"] += not state.kept
            if wrong:
                found["wrong"].append([state.id, wrong])
        if found["tried"] == most:
            break
with open("/job/found", "w") as out:
    json.dump(found, out)
"""

SCRIPT = """
set -eu
modprobe ublk_drv
modprobe {kind}
[ -e /tmp/packages ] || cp -a /job/packages /tmp/packages
export PYTHONPATH=/tmp/packages PYTHONDONTWRITEBYTECODE=1
{python} -P /job/crash.py {kind} {geometry} {states}
"""


@pytest.mark.parametrize(("kind", "tool"), [("btrfs", "mkfs.btrfs"), ("f2fs", "mkfs.f2fs")])
def test_a_file_system_of_the_kernel_survives_every_cut(
    kind: str, tool: str, boots: Boots, needs: Callable[[str, bool, str], None]
) -> None:
    there = any(Path(folder, tool).exists() for folder in ("/sbin", "/usr/sbin"))
    needs("kernel", there, f"{tool}, from btrfs-progs or f2fs-tools")
    kernel = boots.kernel()
    bring_packages(kernel)
    (kernel.share / "crash.py").write_text(INSIDE)
    (kernel.share / "found").unlink(missing_ok=True)
    done = kernel.run(
        "#!/bin/bash\n"
        + SCRIPT.format(
            kind=kind,
            python=shlex.quote(lab.python()),
            geometry=shlex.quote(json.dumps(GEOMETRY[kind])),
            states=STATES,
        ),
        timeout=36_000.0,
    )
    assert done.status == 0, f"status {done.status}:\n{done.output}"
    found = json.loads((kernel.share / "found").read_text())
    assert not found["wrong"], found["wrong"][:3]
    assert found["marks"] > 80
    assert found["lossy"] > found["tried"] // 4, "hardly any of them had lost something"
    assert found["tried"] >= STATES
