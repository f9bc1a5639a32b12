"""Random CDBs for a zoned SCSI disk, and the executor's answers to them: what scsi_debug is compared with.

What is left out are commands that kill 6.12's scsi_debug (a transfer or WRITE SAME of no blocks, REPORT ZONES with
less room than its header), what no two drives answer alike (names, mode and log pages, fields that are
reserved), and what ``differences.py`` knows to end otherwise there: reads and resets of gap zones, OPEN ZONE with ALL under a
limit, and transfers of a host-aware disk that go on into another zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from kernel.guest_scsi import codes, told
from kernel.scenario import MIB, Disk
from scsi import cdb10, cdb12, cdb16, inquiry, report_zones
from wire.door import Door, Library, Shape

BLOCK = 4096
PLAIN = Disk("scsi_debug", size=24 * MIB, conventional=4, max_open=6)
DISKS = {
    "plain": PLAIN,
    "gaps": Disk(
        "scsi_debug",
        size=48 * MIB,
        zone_size=4 * MIB,
        zone_capacity=3 * MIB,
        conventional=2,
        max_open=3,
    ),
    "no conventional zones": Disk("scsi_debug", size=16 * MIB, conventional=0, max_open=0),
    "host aware": Disk("scsi_debug", size=24 * MIB, conventional=4, model="host-aware"),
}
OPEN, CLOSE, FINISH, RESET = 3, 1, 2, 4


@dataclass
class Given:
    """A command, as the guest gets it: ``times`` times ``out`` is sent, or ``room`` bytes may come."""

    cdb: str
    out: str = ""
    times: int = 1
    room: int = 0


def shape(disk: Disk) -> Shape:
    return Shape(
        size=disk.size,
        zone_size=disk.zone_size,
        zone_capacity=0 if disk.zone_capacity == disk.zone_size else disk.zone_capacity,
        max_open=disk.max_open,
        nr_conv=disk.conventional,
        model=int(disk.model == "host-aware"),
    )


def memory(disk: Disk) -> dict[str, Any]:
    """The same disk as ``zoned.memory`` makes it."""
    return {
        "size": disk.size,
        "zone_size": disk.zone_size,
        "zone_capacity": disk.zone_capacity,
        "conventional": disk.conventional,
        "max_open": disk.max_open,
        "logical_block": BLOCK,
        "implicit_close": "lowest",
        "model": disk.model,
    }


class Commands:
    """Draws commands that mean something now: half of them at a write pointer."""

    def __init__(self, door: Door, disk: Disk, random: Random) -> None:
        self.door = door
        self.disk = disk
        self.random = random
        self.blocks = disk.size // BLOCK
        self.zone = disk.zone_size // BLOCK

    def pointer(self) -> int:
        """Where some zone is written next, or begins if it cannot be written."""
        data = self.door.zones().data
        at = 64 * self.random.randrange(1, len(data) // 64)
        start, pointer = (int.from_bytes(data[at + i : at + i + 8], "big") for i in (16, 24))
        return pointer if pointer < self.blocks else start

    def place(self) -> int:
        """An LBA: at a write pointer, about a zone's ends, or beyond the disk."""
        draw = self.random.random()
        if draw < 0.5:
            return self.pointer()
        if draw < 0.97:
            within = self.random.choice(
                (0, 0, 0, 1, self.zone - 1, self.random.randrange(self.zone))
            )
            return min(self.random.randrange(self.disk.nr_zones) * self.zone + within, self.blocks)
        return self.random.choice((self.blocks - 1, self.blocks, self.blocks + 1, 1 << 31))

    def written(self) -> int:
        """A place in no gap zone: scsi_debug reads what is there."""
        place, capacity = self.place(), self.disk.zone_capacity // BLOCK
        zone = place // self.zone * self.zone
        return zone if zone < self.blocks and place - zone >= capacity else place

    def within(self, lba: int, blocks: int) -> int:
        """So many blocks, or on a host-aware disk as many of them as lie in one zone."""
        if self.disk.model == "host-managed":
            return blocks
        return min(blocks, self.zone - lba % self.zone)

    def length(self, most: int = 256) -> int:
        return min(most, self.random.choice((1, 1, 2, 3, 7, 16, 64, 255, 256)))

    def long_cdb(self, forms: tuple[int, int, int], lba: int, blocks: int, flags: int = 0) -> str:
        """A command with a CDB of 10, 12 or 16 bytes; 0: it has no such form."""
        made = zip(forms, (cdb10, cdb12, cdb16), strict=True)
        opcode, make = self.random.choice([form for form in made if form[0]])
        return make(opcode, lba, blocks, flags).hex()

    def flags(self) -> int:
        return self.random.choice((0, 0, 0, 0x08, 0x10, 0x18))

    def block(self) -> str:
        return bytes([self.random.randrange(256)] * BLOCK).hex()

    def read(self) -> Given:
        lba = self.written()
        blocks = self.within(lba, self.length(64))
        cdb = self.long_cdb((0x28, 0xA8, 0x88), lba, blocks, self.flags())
        return Given(cdb, room=blocks * BLOCK)

    def write(self) -> Given:
        lba = self.place()
        blocks = self.within(lba, self.length())
        cdb = self.long_cdb((0x2A, 0xAA, 0x8A), lba, blocks, self.flags())
        return Given(cdb, self.block(), times=blocks)

    def verify(self) -> Given:
        lba = self.written()
        # scsi_debug compares before it looks whether there are so many blocks.
        lba = lba if lba < self.blocks else 0
        blocks = self.within(lba, min(self.length(16), self.blocks - lba))
        form = self.random.choice((1, 3))
        times = blocks if form == 1 else 1
        cdb = self.long_cdb((0x2F, 0, 0x8F), lba, blocks, form << 1)
        return Given(cdb, self.block(), times=times)

    def swap(self) -> Given:
        """In conventional zones: scsi_debug's COMPARE AND WRITE knows no write pointers."""
        lba = self.random.randrange(self.disk.conventional * self.zone - 1)
        blocks = self.random.choice((1, 2))
        cdb = bytes([0x89, 0]) + lba.to_bytes(8, "big") + bytes([0, 0, 0, blocks, 0, 0])
        return Given(cdb.hex(), self.block(), times=2 * blocks)

    def same(self) -> Given:
        lba = self.place()
        blocks = self.within(lba, self.length())
        return Given(self.long_cdb((0x41, 0, 0x93), lba, blocks), self.block())

    def synchronize(self) -> Given:
        return Given(self.long_cdb((0x35, 0, 0x91), self.place(), self.length()))

    def manage(self) -> Given:
        action = self.random.choice((OPEN, OPEN, CLOSE, FINISH, RESET, RESET))
        every = self.random.random() < 0.08 and not (action == OPEN and self.disk.max_open)
        lba = self.written()
        if self.random.random() < 0.8:
            lba = lba // self.zone * self.zone
        cdb = bytes([0x94, action]) + lba.to_bytes(8, "big") + bytes([0, 0, 0, 0, every, 0])
        return Given(cdb.hex())

    def report(self) -> Given:
        options = [0, 0, 1, 2, 3, 4, 5, 6, 7, 0x11, 0x3F, 0x3F, 0x08, 0x20]
        if self.disk.model == "host-managed":
            options.append(0x10)  # which scsi_debug's host-aware zones never match
        room = self.random.choice((64, 128, 512, 4095, 4096, 1 << 15))
        option, partial = self.random.choice(options), self.random.choice((False, True))
        cdb = report_zones(self.place(), room, option, partial=partial)
        return Given(cdb.hex(), room=room)

    def look(self) -> Given:
        """What tells of the disk and is the same for all drives."""
        # To RC BASIS: with host-aware zones scsi_debug does not say that all of the disk is counted.
        length = 13 if self.disk.model == "host-managed" else 12
        sixteen = bytes([0x9E, 0x10]) + bytes(8) + bytes([0, 0, 0, length, 0, 0])
        # Nor has its host-aware disk a page of zoned characteristics.
        page = 0xB6 if self.disk.model == "host-managed" else 0xFF
        return self.random.choice(
            (
                Given(bytes(6).hex()),
                Given(inquiry(page, 252).hex(), room=252),
                Given((bytes([0x25]) + bytes(9)).hex(), room=8),
                Given(sixteen.hex(), room=length),
                Given(bytes([3, self.random.randrange(2), 0, 0, 252, 0]).hex(), room=252),
            )
        )

    def unknown(self) -> Given:
        return Given((bytes([self.random.choice((0x0F, 0x99, 0xC0, 0xE7))]) + bytes(15)).hex())

    def draw(self) -> Given:
        kinds: dict[Callable[[], Given], int] = {
            self.read: 20,
            self.write: 30,
            self.manage: 22,
            self.report: 12,
            self.verify: 4,
            self.swap: 4 if self.disk.conventional else 0,
            self.same: 4,
            self.synchronize: 2,
            self.look: 2,
            self.unknown: 1,
        }
        (kind,) = self.random.choices(list(kinds), list(kinds.values()))
        return kind()


def unrecommended(data: bytes) -> bytes:
    """A report without what scsi_debug never says: that a zone had better be reset."""
    flags = range(65, len(data), 64)
    return bytes(byte & ~1 if at in flags else byte for at, byte in enumerate(data))


def run(
    library: Library, name: str, seed: int, steps: int
) -> tuple[dict[str, Any], list[list[Any]]]:
    """So many commands for a disk and what the executor answers; zones are looked at after each."""
    disk = DISKS[name]
    door = Door(library, shape(disk))
    commands = Commands(door, disk, Random(f"{seed} {name}"))
    given: list[Given] = []
    answers: list[list[Any]] = []
    whole = report_zones(allocation=1 << 15)

    def each() -> Iterator[Given]:
        for _ in range(steps):
            yield commands.draw()
            yield Given(whole.hex(), room=1 << 15)

    try:
        door.login(0)
        door.send(bytes(6))
        for command in each():
            out = bytes.fromhex(command.out) * command.times
            answer = door.send(bytes.fromhex(command.cdb), out, command.room)
            given.append(command)
            if command.cdb.startswith("95"):
                answer.data = unrecommended(answer.data)
            answers.append([answer.status, codes(answer.sense), told(answer.data)])
    finally:
        door.close()
    return {"disk": asdict(disk), "commands": [asdict(command) for command in given]}, answers
