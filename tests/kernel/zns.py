"""The same commands for QEMU's emulated ZNS drive, in the guest, and for ours, in this process; what both gave, and where it
differs.

Ours is given a command as soon as it is made, so that the next one can be made for the zones as they are. QEMU's drive gets
them all in one job, and behind each a report of all zones.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kernel import lab
from kernel.zns_differences import KNOWN
from wire.doors import KIB, Library
from wire.nvme_door import ZNS, Code, NvmeDoor, Shape, at

ZONES, BLOCK, EXTENSION = 20, 4096, 64
ZONE, CAPACITY, LIMIT = 256, 192, 32
"""Blocks of a zone, those that it takes, and those of the longest append."""
MAX_OPEN, MAX_ACTIVE = 3, 5
AREA, GRANULE, AREAS = 16, 4, 2
"""Of a drive with random write areas: blocks of one, those of a commit at least, and how many zones may have one."""
EMPTY, IMPLICIT, EXPLICIT, CLOSED, FULL = 1, 2, 3, 4, 0xE
ZRWAV, NO_AREA = 1 << 3, 0x1B7
CLOSE, FINISH, OPEN, RESET, OFFLINE, SET_EXTENSION, COMMIT = 1, 2, 3, 4, 5, 0x10, 0x11
FLUSH, WRITE, READ, COMPARE, ZEROES, VERIFY, COPY, SEND, RECEIVE, APPEND = (
    *(0x00, 0x01, 0x02, 0x05, 0x08, 0x0C, 0x19),
    *(0x79, 0x7A, 0x7D),
)
SIZE = ZONES * ZONE * BLOCK
DRIVER = Path(__file__).with_name("guest_nvme.py")


def devices(image: Path, *, areas: bool = False) -> list[str]:
    """Arguments of QEMU: its drive on a file of SIZE bytes."""
    zoned: dict[str, object] = {
        "zone_size": f"{ZONE * BLOCK // KIB}K",
        "zone_capacity": f"{CAPACITY * BLOCK // KIB}K",
        "max_open": MAX_OPEN,
        "max_active": MAX_ACTIVE,
        "descr_ext_size": EXTENSION,
        "cross_read": "on",
    }
    if areas:
        zoned |= {"zrwas": AREA * BLOCK, "zrwafg": GRANULE * BLOCK, "numzrwa": AREAS}
    told = ",".join(f"zoned.{name}={value}" for name, value in zoned.items())
    return [
        *("-drive", f"file={image},if=none,format=raw,id=drive"),
        *("-device", f"nvme,serial=zns,id=nvme,zoned.zasl={LIMIT.bit_length() - 1}"),
        "-device",
        f"nvme-ns,drive=drive,bus=nvme,zoned=on,{told},logical_block_size={BLOCK},physical_block_size={BLOCK}",
    ]


def ours(library: Library, *, areas: bool = False) -> NvmeDoor:
    """A drive like it."""
    drive = NvmeDoor(
        library,
        Shape(
            size=SIZE,
            zone_size=ZONE * BLOCK,
            zone_capacity=CAPACITY * BLOCK,
            append_limit=LIMIT * BLOCK,
            max_open=MAX_OPEN,
            max_active=MAX_ACTIVE,
            nr_conv=0,
            unrestricted_read=1,
            zone_extension=EXTENSION,
            zrwa_size=AREA * BLOCK if areas else 0,
            zrwa_granularity=GRANULE * BLOCK if areas else 0,
            zrwa_count=AREAS if areas else 0,
        ),
    )
    assert drive.code == 0, drive.text
    drive.connect(0)
    return drive


# ---------------------------------------------------------------- commands


@dataclass(frozen=True)
class Command:
    name: str
    sqe: bytes
    out: bytes = b""
    room: int = 0


def _fill(blocks: int, byte: int) -> bytes:
    return bytes([byte]) * blocks * BLOCK


def write(slba: int, blocks: int = 1, byte: int = 0x5A) -> Command:
    return Command(f"write {slba}+{blocks}", at(WRITE, ZNS, slba, blocks - 1), _fill(blocks, byte))


def append(slba: int, blocks: int = 1, byte: int = 0xA5) -> Command:
    return Command(
        f"append {slba}+{blocks}", at(APPEND, ZNS, slba, blocks - 1), _fill(blocks, byte)
    )


def read(slba: int, blocks: int = 1) -> Command:
    return Command(f"read {slba}+{blocks}", at(READ, ZNS, slba, blocks - 1), room=blocks * BLOCK)


def compare(slba: int, blocks: int = 1, byte: int = 0x5A) -> Command:
    return Command(
        f"compare {slba}+{blocks}", at(COMPARE, ZNS, slba, blocks - 1), _fill(blocks, byte)
    )


def plain(name: str, opcode: int, slba: int, blocks: int = 1) -> Command:
    """One that moves no data."""
    return Command(f"{name} {slba}+{blocks}", at(opcode, ZNS, slba, blocks - 1))


def copy(slba: int, first: int, blocks: int = 1) -> Command:
    extent = bytes(8) + struct.pack("<QH", first, blocks - 1)
    return Command(f"copy {first}+{blocks} to {slba}", at(COPY, ZNS, slba), extent.ljust(32, b"\0"))


def send(action: int, slba: int, *, every: bool = False, option: bool = False) -> Command:
    out = bytes(range(EXTENSION)) if action == SET_EXTENSION else b""
    words = action | every << 8 | option << 9
    name = f"send {action:02x} to {slba}{' all' * every}{' with its option' * option}"
    return Command(name, at(SEND, ZNS, slba, d13=words), out)


def receive(
    slba: int, option: int = 0, *, action: int = 0, partial: bool = False, room: int = 4096
) -> Command:
    words = action | option << 8 | partial << 16
    name = f"receive {action} of {option} from {slba}{' partial' * partial}, {room} bytes"
    return Command(name, at(RECEIVE, ZNS, slba, room // 4 - 1, words), room=room)


REPORT = receive(0, room=64 + 64 * ZONES)
RESET_ALL = send(RESET, 0, every=True)


# ---------------------------------------------------------------- what both gave


@dataclass(frozen=True)
class Zone:
    """As a report has it."""

    cond: int
    written: int | None
    """Blocks; None: it has no valid write pointer."""
    attributes: int


@dataclass(frozen=True)
class Answer:
    status: int
    """Status code type and status code; below 0 an errno of the kernel, which did not give the command to the drive."""
    result: int
    data: bytes
    zones: tuple[Zone, ...]
    """Behind it."""


def _zones(report: bytes) -> tuple[Zone, ...]:
    found = []
    for i in range(ZONES):
        d = report[64 + 64 * i : 128 + 64 * i]
        cond = d[1] >> 4
        start, pointer = struct.unpack_from("<QQ", d, 16)
        found.append(Zone(cond, pointer - start if cond <= CLOSED else None, d[2]))
    return tuple(found)


def _data(command: Command, data: bytes) -> bytes:
    """What of it means something: of zones without a valid write pointer a report may say anything there."""
    if command.sqe[0] != RECEIVE or len(data) < 64:
        return data
    kept = bytearray(data)
    step = 64 + (EXTENSION if command.sqe[52] == 1 else 0)
    for start in range(64, len(kept) - 63, step):
        if kept[start + 1] >> 4 > CLOSED:
            kept[start + 24 : start + 32] = bytes(8)
    return bytes(kept)


def _answer(command: Command, raw: int, result: int, data: bytes, report: bytes) -> Answer:
    status = raw & 0x7FF if raw >= 0 else raw
    good = status == 0
    return Answer(
        status,
        result if good and command.sqe[0] == APPEND else 0,
        _data(command, data.ljust(command.room, b"\0")) if good and command.room else b"",
        _zones(report),
    )


class Play:
    """Commands that ours was given, with what it gave, to be given to QEMU's drive.

    Where QEMU's drive is known to close a zone and ours is not, ours is closed behind the command, too (`follow`).
    """

    def __init__(self, drive: NvmeDoor, *, follow: bool = True) -> None:
        self.drive = drive
        self.follow = follow
        self.oldest: list[int] = []
        """Implicitly open zones, in the order in which they were opened."""
        self.commands: list[Command] = []
        self.answers: list[Answer] = []
        self.report = b""
        self.zones: tuple[Zone, ...] = ()
        """Of our drive, now."""

    def give(self, *commands: Command) -> Answer:
        """Of several the last one's answer."""
        for command in commands:
            got = self.drive.send(command.sqe, command.out, command.room)
            self._look()
            if self.follow and self._closes(command, got.status):
                assert self.drive.zone(CLOSE, self.oldest[0]).status == 0
                self._look()
            answer = _answer(command, got.raw, got.result, got.data, self.report)
            self.commands.append(command)
            self.answers.append(answer)
        return self.answers[-1]

    def _look(self) -> None:
        self.report = self.drive.send(REPORT.sqe, room=REPORT.room).data
        self.zones = _zones(self.report)
        now = [i for i, zone in enumerate(self.zones) if zone.cond == IMPLICIT]
        self.oldest = [i for i in self.oldest if i in now] + [
            i for i in now if i not in self.oldest
        ]

    def _closes(self, command: Command, status: int) -> bool:
        """Whether QEMU's drive makes room for the zone before it finds that too many are active, or have an area."""
        opened = sum(zone.cond in (IMPLICIT, EXPLICIT) for zone in self.zones)
        if opened < MAX_OPEN or not self.oldest:
            return False
        if status == NO_AREA:
            zone = self.zones[int.from_bytes(command.sqe[40:48], "little") // ZONE]
            return zone.cond in (EMPTY, CLOSED) and (zone.written or 0) % GRANULE == 0
        extends = command.sqe[0] == SEND and command.sqe[52] == SET_EXTENSION
        return status == Code.TOO_MANY_ACTIVE and not extends

    def theirs(self, kernel: lab.Kernel) -> list[Answer]:
        """What QEMU's drive gives for them."""
        lines = [
            json.dumps([each.sqe.hex(), each.out.hex(), each.room])
            for command in self.commands
            for each in (command, REPORT)
        ]
        (kernel.share / "commands").write_text("\n".join(lines) + "\n")
        (kernel.share / "guest_nvme.py").write_text(DRIVER.read_text())
        script = "modprobe nvme; until [ -e /dev/ng0n1 ]; do sleep 0.1; done; "
        done = kernel.run(
            lab.assignments(PYTHON=lab.python())
            + script
            + '"$PYTHON" /job/guest_nvme.py /dev/ng0n1 /job/commands /job/answers',
            timeout=3600.0,
        )
        assert done.status == 0, done.output
        told = [json.loads(line) for line in (kernel.share / "answers").read_text().splitlines()]
        assert len(told) == 2 * len(self.commands)
        found = []
        for command, (raw, result, data), report in zip(
            self.commands, told[::2], told[1::2], strict=True
        ):
            assert report[0] == 0, report
            found.append(
                _answer(command, raw, result, bytes.fromhex(data), bytes.fromhex(report[2]))
            )
        return found


# ---------------------------------------------------------------- what differs


def differences(
    commands: Iterable[Command], theirs: Iterable[Answer], own: Iterable[Answer]
) -> tuple[list[str], set[str]]:
    """What nothing explains, as text; and the names of what does."""
    unknown, known = [], set()
    for i, (command, they, we) in enumerate(zip(commands, theirs, own, strict=True)):
        if they == we:
            continue
        name = next((each.name for each in KNOWN if each.applies(command, they, we)), None)
        if name is not None:
            known.add(name)
            continue
        zones = [
            f"zone {n}: {a} here {b}"
            for n, (a, b) in enumerate(zip(they.zones, we.zones, strict=True))
            if a != b
        ]
        unknown.append(
            f"{i}: {command.name}: status {they.status:03x} here {we.status:03x}, result {they.result:x} here "
            f"{we.result:x}, {'other' if they.data != we.data else 'the same'} data; {'; '.join(zones)}"
        )
    return unknown, known


# ---------------------------------------------------------------- drawing


def draw(play: Play, rng: random.Random, *, areas: bool = False) -> Command:
    """A command that may do anything; rather one that does something."""
    if areas and rng.random() < 0.5:
        return _draw_with_area(play, rng)
    zone = rng.randrange(ZONES)
    start = zone * ZONE
    written = play.zones[zone].written
    pointer = start + (written if written is not None else rng.randrange(ZONE))
    blocks = rng.choice((1, 1, 2, 3, 8, 16, 31, 32))
    byte = rng.randrange(256)
    anywhere = rng.randrange(SIZE // BLOCK + 40)
    near = pointer + rng.choice((0, 0, 0, 0, 0, 0, 1, -1 if pointer else 0))
    kind = rng.randrange(20)
    if kind < 6:
        return write(near, blocks, byte)
    if kind < 8:
        return append(start + (rng.random() < 0.1), rng.choice((blocks, blocks, LIMIT + 1)), byte)
    if kind < 10:
        return read(rng.choice((start, anywhere)), blocks)
    if kind == 10:
        return plain("write zeroes", ZEROES, near, blocks)
    if kind == 11:
        return compare(start, blocks, byte)
    if kind == 12:
        return plain("verify", VERIFY, rng.choice((start, anywhere)), blocks)
    if kind == 13:
        # Where QEMU's drive does not open a zone that stays closed here: COPY_OPENS. Into no area: COPY_COMMITS.
        if play.zones[zone].attributes & ZRWAV:
            return read(start, blocks)
        if written is None or written + blocks > CAPACITY:
            return copy(start, start)
        return copy(pointer, rng.randrange(ZONES) * ZONE, blocks)
    if kind == 14:
        return receive(
            rng.choice((start, pointer, anywhere)),
            rng.randrange(9),
            action=rng.choice((0, 0, 1, 2)),
            partial=rng.random() < 0.5,
            room=rng.choice((64, 128, 192, 640, 4096)),
        )
    action = rng.choice(
        (OPEN, OPEN, CLOSE, CLOSE, FINISH, RESET, RESET, SET_EXTENSION, OFFLINE, COMMIT, 0, 6, 0x20)
    )
    return send(
        action,
        rng.choice((start,) * 10 + (start + 1, anywhere)),
        option=action == OPEN and rng.random() < 0.1 and not play.zones[zone].attributes & ZRWAV,
        every=action != OPEN and rng.random() < 0.1,
    )


def _draw_with_area(play: Play, rng: random.Random) -> Command:
    """One for random write areas: mostly in a zone that has one, and near its bounds."""
    having = [i for i, zone in enumerate(play.zones) if zone.attributes & ZRWAV]
    zone = rng.choice(having) if having and rng.random() < 0.8 else rng.randrange(ZONES)
    start, written = zone * ZONE, play.zones[zone].written or 0
    kind = rng.randrange(10)
    if zone not in having and (kind < 1 or not having):
        return send(OPEN, start, option=True)  # where it has none: AREA_TWICE
    if kind < 5:
        first = written + rng.choice((0, 1, rng.randrange(AREA), AREA - 1, AREA, 2 * AREA - 1))
        return write(start + first, rng.choice((1, 1, 2, 3, GRANULE, AREA)), rng.randrange(256))
    if kind < 8:
        granules = rng.choice((1, 1, 2, AREA // GRANULE, AREA // GRANULE + 1, 0))
        blocks = written + granules * GRANULE + rng.choice((0, 0, 0, 0, 1, -1))
        return send(COMMIT, start + max(1, min(blocks, CAPACITY)) - 1)  # COMMITS_BEYOND
    if kind == 8:
        return read(start + max(0, written - 4), rng.choice((1, 8, 2 * AREA)))
    return rng.choice((send(CLOSE, start), send(FINISH, start), send(RESET, start), append(start)))
