"""What the nvme-cli of a stock kernel's host does to the zones of a disk at NVMe/TCP, each time against the disk's own report."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kernel import lab
from kernel.attaching import attached
from zoned import ZoneCondition

pytestmark = pytest.mark.kernel
ZONE, BLOCK, ZONES = 4 << 20, 4096, 16
BLOCKS = ZONE // BLOCK
"""Of a zone: 0x400."""
EXTENSION = 64
STATES = {
    ZoneCondition.EMPTY: 0x10,
    ZoneCondition.IMPLICIT_OPEN: 0x20,
    ZoneCondition.EXPLICIT_OPEN: 0x30,
    ZoneCondition.CLOSED: 0x40,
    ZoneCondition.READ_ONLY: 0xD0,
    ZoneCondition.FULL: 0xE0,
    ZoneCondition.OFFLINE: 0xF0,
}
"""As nvme-cli shows them."""
SHAPE = {
    "zones": ZONES,
    "zone_size": ZONE,
    "conventional": 0,
    "max_open": 6,
    "max_active": 8,
    "append_limit": "64KiB",
    "zone_extension": EXTENSION,
}


@dataclass(frozen=True)
class Step:
    """A command, what it changes by number of zone, and what it says; refused, where it has to be."""

    command: str
    becomes: dict[int, ZoneCondition] = field(default_factory=dict)
    says: str = ""
    refused: bool = False


C = ZoneCondition
STEPS = [
    Step("nvme zns open-zone $disk -s 0x400", {1: C.EXPLICIT_OPEN}),
    Step("nvme zns open-zone $disk -s 0x800", {2: C.EXPLICIT_OPEN}),
    Step("nvme zns close-zone $disk -s 0x800", {2: C.CLOSED}),
    Step(
        "nvme zns zone-append $disk -s 0xc00 -z 8192 -d /run/data",
        {3: C.IMPLICIT_OPEN},
        "Success appended data to LBA c00",
    ),
    Step(
        "nvme zns zone-append $disk -s 0xc00 -z 8192 -d /run/data",
        says="Success appended data to LBA c02",
    ),
    Step("nvme write $disk -s 0xc03 -c 0 -z 4096 -d /run/data", says="1bc)", refused=True),
    Step("nvme zns finish-zone $disk -s 0xc00", {3: C.FULL}),
    Step(
        "nvme zns zone-append $disk -s 0xc00 -z 4096 -d /run/data",
        says="1b9)",
        refused=True,
    ),
    Step("nvme zns zone-mgmt-send $disk -s 0x1000 -z 3", {4: C.EXPLICIT_OPEN}),
    Step("nvme zns zone-mgmt-send $disk -s 0x1000 -z 1", {4: C.CLOSED}),
    Step("nvme zns zone-mgmt-send $disk -s 0x1400 -z 2", {5: C.FULL}),
    Step("nvme zns zone-mgmt-send $disk -s 0x1400 -z 4", {5: C.EMPTY}),
    Step("nvme zns set-zone-desc $disk -s 0x1800 -d /run/extension", {6: C.CLOSED}),
    Step("nvme zns set-zone-desc $disk -s 0x1800 -d /run/extension", says="1bf)", refused=True),
    Step("nvme zns offline-zone $disk -s 0x1c00", says="1bf)", refused=True),
    Step("dies 14 READ_ONLY", {14: C.READ_ONLY}),
    Step("nvme zns changed-zone-list $disk", says=f"zid 000: {14 * BLOCKS}"),
    Step("nvme zns open-zone $disk -s 0x3800", says="1bf)", refused=True),
    Step("nvme zns offline-zone $disk -s 0x3800", {14: C.OFFLINE}),
    Step("nvme zns zrwa-flush-zone $disk -l 0x401", refused=True),
    Step("nvme zns open-zone $disk -s 0x401", says="002)", refused=True),
    Step("nvme zns reset-zone $disk -s 0x400", {1: C.EMPTY}),
    Step("nvme zns finish-zone $disk -a", {2: C.FULL, 4: C.FULL, 6: C.FULL}),
    Step("nvme zns open-zone $disk -s 0x1c00", {7: C.EXPLICIT_OPEN}),
    Step("nvme zns close-zone $disk -a", {7: C.CLOSED}),
    Step("nvme zns open-zone $disk -a", {7: C.EXPLICIT_OPEN}),
    Step(
        "nvme zns reset-zone $disk -a",
        {2: C.EMPTY, 3: C.EMPTY, 4: C.EMPTY, 6: C.EMPTY, 7: C.EMPTY},
    ),
    Step("nvme zns zone-mgmt-send $disk -s 0 -z 1 -a"),
]

IDENTIFY = """
nvme discover $(where) | grep -c "subnqn:  $IQN"
nvme zns list
nvme zns id-ns $disk; nvme zns id-ctrl $disk; nvme id-ns $disk; nvme id-ctrl $disk
"""
# zone-mgmt-recv of nvme-cli 2.3 asks and shows nothing; the bytes come by its passthru.
RECEIVED = """
received() {
    nvme io-passthru $disk -o 0x7a -n 1 -r -l 192 -b --cdw10=$1 --cdw12=47 --cdw13=$2 | od -An -v -tx1
}
nvme zns zone-append $disk -s 0x2000 -z 4096 -d /run/data
nvme zns set-zone-desc $disk -s 0x2400 -d /run/extension
echo "== normal"; nvme zns report-zones $disk
echo "== some"; nvme zns report-zones $disk -s 0x800 -d 3
echo "== closed"; nvme zns report-zones $disk -S 4 -p
echo "== said"
nvme zns zone-mgmt-recv $disk -s 0x2000 -z 0 -l 192; nvme zns zone-mgmt-recv $disk -s 0x2400 -z 1 -l 192
echo "== raw"; received 0x2000 0
echo "== extended"; received 0x2400 1
echo "== own"; own
"""
ROW = re.compile(r"SLBA: (\w+)\s+WP: (\w+)\s+Cap: (\w+)\s+State: (\w+)")


def rows(text: str) -> list[tuple[int, ...]]:
    """Start, write pointer, capacity and state of each zone that nvme-cli shows, in blocks."""
    return [tuple(int(one, 16) for one in row) for row in ROW.findall(text)]


def compared(shown: list[tuple[int, ...]], own: str) -> list[ZoneCondition]:
    """The conditions in both reports of a disk, which must agree in all else, too."""
    zones = json.loads(own)
    assert len(shown) == len(zones) == ZONES
    for (start, wp, capacity, state), (own_start, own_wp, name, own_capacity) in zip(
        shown, zones, strict=True
    ):
        assert (start * BLOCK, capacity * BLOCK) == (own_start, own_capacity)
        assert state == STATES[ZoneCondition[name]]
        if own_wp is not None and name not in {"FULL", "READ_ONLY", "OFFLINE"}:
            assert wp * BLOCK == own_wp
    return [ZoneCondition[zone[2]] for zone in zones]


def octets(text: str) -> bytes:
    """Of lines of hex digits; one that says how it went stands before them."""
    lines = [line for line in text.splitlines() if "is Success" not in line]
    return bytes.fromhex("".join("".join(lines).split()))


@pytest.mark.long
def test_each_verb_of_nvme_zns(kernel: lab.Kernel, tools: Callable[..., None]) -> None:
    tools("nvme", package="nvme-cli")
    script = "head -c 8192 /dev/urandom >/run/data; head -c 64 /dev/urandom >/run/extension\n"
    # Once, so that the log of changed zones holds what changes from here on.
    script += "nvme zns changed-zone-list $disk >/dev/null\n"
    for step in STEPS:
        script += f"""
        echo "== step"; if {step.command} 2>&1; then echo done; else echo "refused $?"; fi
        echo "== shown"; nvme zns report-zones $disk
        echo "== own"; own
        """
    with attached(kernel, "verbs", door="nvme", disk=SHAPE) as disk:
        told = disk.run(script)
        identified = disk.run(IDENTIFY)
        received = disk.run(RECEIVED)
    parts = re.split(r"^== (?:step|shown|own)\n", told, flags=re.MULTILINE)[1:]
    assert len(parts) == 3 * len(STEPS), told
    conditions = [C.EMPTY] * ZONES
    for at, step in enumerate(STEPS):
        said, shown, own = parts[3 * at : 3 * at + 3]
        for zone, condition in step.becomes.items():
            conditions[zone] = condition
        context = f"{step.command}\n{said}\n{shown}"
        assert step.says.lower() in said.lower(), context
        assert ("refused" in said.splitlines()[-1]) == step.refused, context
        assert compared(rows(shown), own) == conditions, context

    first, words = identified.split("\n", 1)
    assert first == "1", identified
    assert disk.name in words
    flat = {" ".join(line.split()) for line in words.splitlines()}
    assert {
        "mar : 0x7",
        "mor : 0x5",
        "zasl : 4",
        "nsze : 0x4000",
        "mn : ZONED ZNS DRIVE",
    } <= flat, identified
    assert re.search(rf"zsze:0x400\b.*zdes:{EXTENSION // 64}\b", words), identified

    # 14 is gone, 8 is open and has one block, 9 has an extension.
    normal, some, closed, said, raw, extended, own = re.split(
        r"^== \w+\n", received, flags=re.MULTILINE
    )[1:]
    found = compared(rows(normal), own)
    expected = {8: C.IMPLICIT_OPEN, 9: C.CLOSED, 14: C.OFFLINE}
    assert found == [expected.get(zone, C.EMPTY) for zone in range(ZONES)]
    assert rows(some) == rows(normal)[2:5]
    assert rows(closed) == [rows(normal)[9]]
    assert said.count("Success") == 2, said
    head, descriptor = octets(raw)[:64], octets(raw)[64:128]
    assert int.from_bytes(head[:8], "little") == ZONES - 8
    assert descriptor[0] & 15 == 2 and descriptor[1] >> 4 == 2
    assert [int.from_bytes(descriptor[at : at + 8], "little") for at in (8, 16, 24)] == [
        BLOCKS,
        8 * BLOCKS,
        8 * BLOCKS + 1,
    ]
    descriptor, extension = octets(extended)[64:128], octets(extended)[128:192]
    assert descriptor[2] & 0x80 and any(extension)
