"""A process that writes to its own zones of one image and says so: what the crash tests kill.

    python writer.py IMAGE CONVENTIONAL FIRST COUNT SEED

CONVENTIONAL is a conventional zone of its own, FIRST to FIRST + COUNT - 1 are its sequential ones. It tells each command on stdout before it begins (``begin``) and after it returned (``done``), one JSON
list a line: [word, command, zone, offset, length, tag]. Content follows from zone, place and tag alone
(`content`), so that the judge can tell what must be there. A line on stdin makes it stop between two
commands (it answers ``paused``), the next one lets it go on; end of input ends it.
"""

from __future__ import annotations

import json
import os
import random
import select
import struct
import sys

import zoned

BLOCK = 4096


def content(zone: int, place: int, length: int, tag: int) -> bytes:
    """The bytes of a write: each 4 KiB block names its zone, its place in the zone and the write's tag."""
    return b"".join(
        struct.pack("<QQQ", zone, place + at, tag) + bytes([tag % 251 + 1]) * (BLOCK - 24)
        for at in range(0, length, BLOCK)
    )


class Writer:
    def __init__(self, path: str, conventional: int, first: int, count: int, seed: int) -> None:
        self.device = zoned.open(path)
        self.conventional = self.device.zones[conventional]
        self.zones = range(first, first + count)
        self.random = random.Random(seed)
        self.tag = seed << 24

    def say(self, word: str, *about: object) -> None:
        # one write(2) of less than PIPE_BUF: a kill leaves whole lines
        os.write(1, (json.dumps([word, *about]) + "\n").encode())

    def step(self) -> None:
        zone = self.device.zones[self.random.choice(self.zones)]
        chance = self.random.random()
        if zone.wp is None or chance < 0.06:
            self.command("reset", zone.index)
        elif chance < 0.10:
            self.command("finish", zone.index)
        elif chance < 0.13:
            self.command("flush", zone.index)
        elif chance < 0.25:
            self.overwrite()
        elif zone.type is zoned.ZoneType.SEQ_WRITE_PREFERRED and chance < 0.6:
            self.anywhere(zone)
        else:
            self.write(zone, "append" if chance < 0.5 else "write")

    def command(self, name: str, zone: int) -> None:
        self.say("begin", name, zone, 0, 0, 0)
        if name == "flush":
            self.device.flush()
        else:
            getattr(self.device, f"{name}_zone")(zone)
        self.say("done", name, zone, 0, 0, 0)

    def overwrite(self) -> None:
        """One block of the conventional zone, any of the first few: most were written before."""
        zone = self.conventional
        place = self.random.randrange(24) * BLOCK
        self.tag += 1
        about = ("overwrite", zone.index, place, BLOCK, self.tag)
        data = content(zone.index, place, BLOCK, self.tag)
        self.say("begin", *about)
        self.device.pwrite(data, zone.start + place)
        self.say("done", *about)

    def anywhere(self, zone: zoned.Zone) -> None:
        """Over what was written, and up to a gap behind the write pointer of a preferred zone."""
        assert zone.wp is not None
        blocks = zone.capacity // BLOCK
        first = self.random.randrange(min((zone.wp - zone.start) // BLOCK + 6, blocks))
        length = min(self.random.choice([1, 2, 7]), blocks - first) * BLOCK
        self.tag += 1
        about = ("write", zone.index, first * BLOCK, length, self.tag)
        data = content(zone.index, first * BLOCK, length, self.tag)
        self.say("begin", *about)
        self.device.pwrite(data, zone.start + first * BLOCK)
        self.say("done", *about)

    def write(self, zone: zoned.Zone, name: str) -> None:
        assert zone.wp is not None
        place = zone.wp - zone.start
        length = min(self.random.choice([1, 1, 2, 5, 16, 40]) * BLOCK, zone.capacity - place)
        self.tag += 1
        data = content(zone.index, place, length, self.tag)
        about = (name, zone.index, place, length, self.tag)
        self.say("begin", *about)
        try:
            if name == "append":
                landed = self.device.append(zone.index, data)
                assert landed == zone.wp, (landed, zone)
            else:
                self.device.pwrite(data, zone.wp)
        except zoned.TooManyOpenError:
            self.say("done", "refused", zone.index, 0, 0, 0)
            return
        self.say("done", *about)

    def run(self) -> None:
        self.say("ready")
        while True:
            if select.select([0], [], [], 0)[0]:
                if not os.read(0, 1):
                    return
                self.say("paused")
                if not os.read(0, 1):
                    return
                self.say("ready")
            self.step()


if __name__ == "__main__":
    Writer(sys.argv[1], *map(int, sys.argv[2:6])).run()
