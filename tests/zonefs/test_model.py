"""Random file operations against a small model of zonefs: results, sizes, counters and zones agree after each."""

from __future__ import annotations

import errno
import os
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import zoned
import zonefs
from zoned import ZoneCondition

BLOCK = 512
CAPACITY = 6 * BLOCK
ZONES = 6
FILES = [f"seq/{n}" for n in range(4)]


class Machine(RuleBasedStateMachine):
    """Zones of 8 blocks, 6 of them usable: 0 and 1 conventional, 2 to 5 sequential, at most 2 open."""

    @initialize(explicit=st.booleans())
    def start(self, explicit: bool) -> None:
        self.dev = zoned.memory(
            size=ZONES * 8 * BLOCK,
            zone_size=8 * BLOCK,
            zone_capacity=CAPACITY,
            conventional=2,
            logical_block=BLOCK,
            physical_block=BLOCK,
            max_open=2,
        )
        self.explicit = explicit
        zonefs.mkfs(self.dev)
        self.fs = zonefs.ZoneFS(self.dev, errors="repair", explicit_open=explicit)
        self.data: dict[str, bytes] = dict.fromkeys(FILES, b"")
        self.cnv = bytearray(8 * BLOCK)
        self.files: list[tuple[zonefs.ZoneFile, str]] = []
        self.opened: set[str] = set()  # whose zone this mount holds open
        self.mark = 0

    def writers(self, path: str | None = None) -> int:
        return sum(
            1
            for file, name in self.files
            if name.startswith("seq") and file.writable() and path in (None, name)
        )

    def writing(self) -> set[str]:
        return {name for file, name in self.files if name[0] == "s" and file.writable()}

    def attempt(self, call: Any) -> Any:
        try:
            return call()
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    @rule(path=st.sampled_from([*FILES, "cnv/0"]), write=st.booleans())
    def open(self, path: str, write: bool) -> None:
        flags = (os.O_RDWR | os.O_DIRECT) if write else os.O_RDONLY
        got = self.attempt(lambda: self.fs.open_raw(path, flags))
        if path[0] == "s" and write and self.explicit and not self.writers(path):
            if len(self.writing()) >= 2:
                assert got == "EBUSY"
                return
            if len(self.data[path]) < CAPACITY:
                self.opened.add(path)
        self.files.append((got, path))

    @rule(number=st.integers(0, 20))
    def close(self, number: int) -> None:
        if self.files:
            file, path = self.files.pop(number % len(self.files))
            file.close()
            if path not in self.writing():
                self.opened.discard(path)

    @rule(
        number=st.integers(0, 20),
        blocks=st.integers(0, 8),
        off=st.sampled_from([0, 0, 0, 1, BLOCK]),
    )
    def write(self, number: int, blocks: int, off: int) -> None:
        if not self.files:
            return
        file, path = self.files[number % len(self.files)]
        self.mark = (self.mark + 1) % 255
        data = bytes([self.mark + 1]) * (blocks * BLOCK)
        if path == "cnv/0":
            at = off + blocks * 64
            got = self.attempt(lambda: file.pwrite(data[:BLOCK], at // BLOCK * BLOCK))
            if not file.writable():
                assert got == "EBADF"
            elif data:
                at = at // BLOCK * BLOCK
                assert got == BLOCK
                self.cnv[at : at + BLOCK] = data[:BLOCK]
            return
        size = len(self.data[path])
        at = size + off
        got = self.attempt(lambda: file.pwrite(data, at))
        if not file.writable():
            assert got == "EBADF"
        elif at >= CAPACITY:
            assert got == "EFBIG"
        elif not data:
            assert got == 0
        elif off:
            assert got == "EINVAL"
        else:
            n = min(len(data), CAPACITY - at)
            if got == "ETOOMANYREFS":  # the others are explicitly open
                assert len(self.opened) >= 2
                assert path not in self.opened
                return
            assert got == n
            self.data[path] += data[:n]
            if len(self.data[path]) == CAPACITY:
                self.opened.discard(path)

    @rule(number=st.integers(0, 20), at=st.integers(0, 9 * BLOCK), length=st.integers(0, 5 * BLOCK))
    def read(self, number: int, at: int, length: int) -> None:
        if not self.files:
            return
        file, path = self.files[number % len(self.files)]
        content = bytes(self.cnv) if path == "cnv/0" else self.data[path]
        got = self.attempt(lambda: file.pread(length, at))
        expected = content[at : at + length]
        if file.writable() and (at % BLOCK or len(expected) % BLOCK) and at < len(content):
            assert got == "EINVAL"  # these descriptors are direct
        else:
            assert got == expected

    @rule(
        path=st.sampled_from([*FILES, "cnv/0"]),
        size=st.sampled_from([0, 0, CAPACITY, 1, BLOCK, 99999]),
    )
    def truncate(self, path: str, size: int) -> None:
        got = self.attempt(lambda: self.fs.truncate(path, size))
        if size > 8 * BLOCK:
            assert got == "EFBIG"
        elif path == "cnv/0" or size not in (0, CAPACITY):
            assert got == "EPERM"
        else:
            before = len(self.data[path])
            if (
                got == "ETOOMANYREFS"
            ):  # dialect zbc: FINISH of an empty or closed zone needs an open resource
                assert size
                assert len(self.opened) >= 2
                return
            assert got is None
            if size:
                self.data[path] = self.data[path].ljust(CAPACITY, b"\0")
                self.opened.discard(path)
            elif before:
                self.data[path] = b""

    @rule(zone=st.integers(2, 5), what=st.sampled_from(["reset", "append", "finish"]))
    def behind_the_back(self, zone: int, what: str) -> None:
        """Somebody else uses the disk; the file is looked at anew."""
        path = FILES[zone - 2]
        self.mark = (self.mark + 1) % 255
        data = bytes([self.mark + 1]) * BLOCK
        if path in self.opened:
            return
        try:
            if what == "reset":
                self.dev.reset_zone(zone)
                self.data[path] = b""
            elif what == "append":
                self.dev.append(zone, data)
                self.data[path] += data
            else:
                self.dev.finish_zone(zone)
                self.data[path] = self.data[path].ljust(CAPACITY, b"\0")
        except zoned.ZonedError as error:
            assert error.rule in ("zone-full", "too-many-open", "write-boundary")  # noqa: PT017
        self.fs.revalidate(path)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "fs"):
            return
        zones = self.dev.report(2, 4)
        for path, zone in zip(FILES, zones, strict=True):
            size = self.fs.stat(path).st_size
            assert size == len(self.data[path]), path
            held = zone.condition is ZoneCondition.EXPLICIT_OPEN
            assert held == (path in self.opened), path
            written = CAPACITY if zone.wp is None else zone.wp - zone.start
            assert written == size
        counters = self.fs.counters
        assert counters.nr_wro_seq_files == len(self.writing())
        active = [p for p in FILES if p in self.opened or 0 < len(self.data[p]) < CAPACITY]
        assert counters.nr_active_seq_files == len(active)
        used = sum(len(data) for data in self.data.values()) // BLOCK
        vfs = self.fs.statvfs()
        assert vfs.f_blocks - vfs.f_bfree == used + 8
        assert not self.fs.options.readonly

    def teardown(self) -> None:
        if hasattr(self, "fs"):
            for path in FILES:
                assert (self.fs / path).read_bytes() == self.data[path]
            with self.fs.open("cnv/0", "rb") as file:
                assert file.read() == bytes(self.cnv)
            self.fs.close()
            limits = self.dev.limits
            assert limits.explicit_open == 0
            self.dev.close()


TestMachine = Machine.TestCase
