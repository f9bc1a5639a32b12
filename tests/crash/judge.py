"""The judge of the crash tests: starts writers, hears what they did, kills them, and looks at the image."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import zoned
from children import environment
from crash.writer import BLOCK, content
from waiting import PATIENCE
from zoned._core.looking import zone_written


@contextmanager
def bounded(what: str, seconds: int = int(PATIENCE)) -> Iterator[None]:
    """Fail instead of hanging: a lock left held shows as a call that does not return."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"{what}: not done within {seconds} s; is a lock left held?")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Process:
    """One writer, and the zones' content as its acknowledgements tell it."""

    def __init__(self, path: Path, conventional: int, first: int, count: int, seed: int) -> None:
        script = Path(__file__).with_name("writer.py")
        self.zones = range(first, first + count)
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(path)]
            + [str(number) for number in (conventional, first, count, seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )
        self.buffer = b""
        self.done = 0
        self.under_way: list[object] | None = None

    def hear(self, ledger: Ledger, timeout: float = 0.0) -> list[str]:
        """Read what it said meanwhile; returns the bare words (ready, paused).

        One pipe full at most: a writer that is quicker than its judge would be heard for ever.
        """
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], timeout)[0]:
            return []
        return self.take(os.read(descriptor, 65536), ledger)

    def hear_the_rest(self, ledger: Ledger) -> None:
        """Of one that has ended."""
        assert self.process.stdout is not None
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            self.take(chunk, ledger)

    def take(self, chunk: bytes, ledger: Ledger) -> list[str]:
        words = []
        *lines, self.buffer = (self.buffer + chunk).split(b"\n")
        for line in lines:
            word, *about = json.loads(line)
            if word == "begin":
                self.under_way = about
            elif word == "done":
                self.done += 1
                self.under_way = None
                ledger.done(*about)
            else:
                words.append(word)
        return words

    def wait_for(self, word: str, ledger: Ledger) -> None:
        end = time.monotonic() + PATIENCE
        while word not in self.hear(ledger, 0.2):
            assert self.process.poll() is None, (
                f"a writer ended by itself: {self.process.returncode}"
            )
            assert time.monotonic() < end, f"a writer does not say {word!r}: is a lock left held?"

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b".")
        self.process.stdin.flush()

    def kill(self, ledger: Ledger) -> None:
        """SIGKILL, then hear the rest: an acknowledgement that was said counts. Once is enough."""
        if self.process.returncode is not None:
            return
        self.process.kill()
        self.process.wait()
        self.hear_the_rest(ledger)
        if self.under_way is not None:
            ledger.cut_short(*self.under_way)
        self.close_pipes()

    def end(self, ledger: Ledger) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:  # it may still have more to say than its pipe takes
            self.hear(ledger, 0.1)
            assert time.monotonic() < end, "a writer does not end"
        assert self.process.returncode == 0
        self.hear_the_rest(ledger)
        self.close_pipes()

    def close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()


class Ledger:
    """What each zone must hold: the acknowledged writes, and one command of which nobody knows."""

    def __init__(self) -> None:
        self.writes: dict[int, list[tuple[int, int, int]]] = {}
        self.blocks: dict[
            int, dict[int, bytes]
        ] = {}  # zone that is overwritten -> place -> content
        self.ends: dict[int, int] = {}  # preferred zone -> bytes written
        self.finished: set[int] = set()
        self.open_question: dict[int, tuple[str, int, int, int]] = {}
        self.touched: set[int] = set()
        self.bytes = 0

    def done(self, command: str, zone: int, place: int, length: int, tag: int) -> None:
        self.touched.discard(zone)
        if command == "reset":
            self.writes[zone] = []
            self.blocks[zone], self.ends[zone] = {}, 0
            self.finished.discard(zone)
        elif command == "finish":
            self.finished.add(zone)
        elif command == "overwrite":
            self.blocks.setdefault(zone, {})[place] = content(zone, place, length, tag)
        elif command in ("write", "append"):
            self.writes.setdefault(zone, []).append((place, length, tag))
            self.bytes += length
            for at in range(place, place + length, BLOCK):
                self.blocks.setdefault(zone, {})[at] = content(zone, at, BLOCK, tag)
            self.ends[zone] = max(self.ends.get(zone, 0), place + length)

    def cut_short(self, command: str, zone: int, place: int, length: int, tag: int) -> None:
        self.open_question[zone] = (command, place, length, tag)

    def settle(self, device: zoned.Device, zone: zoned.Zone) -> None:
        """The command that the kill cut short was done wholly or not at all, a write also in part."""
        question = self.open_question.pop(zone.index, None)
        if question is None:
            return
        command, place, length, tag = question
        written = sum(length for _, length, _ in self.writes.get(zone.index, []))
        self.touched.add(zone.index)
        if command == "reset" and zone.condition == zoned.ZoneCondition.EMPTY:
            self.done("reset", zone.index, 0, 0, 0)
        elif command == "finish" and zone.condition == zoned.ZoneCondition.FULL:
            self.done("finish", zone.index, 0, 0, 0)
        elif command in ("write", "append"):
            end = zone.capacity if zone.wp is None else zone.wp - zone.start
            assert written <= end <= place + length, (zone, question)
            assert end % BLOCK == 0
            if end > place:
                self.done("write", zone.index, place, end - place, tag)

    def verify_conventional(self, device: zoned.Device, zone: zoned.Zone) -> None:
        """The last acknowledged content of each block; one under a write cut short may be torn."""
        blocks = self.blocks.setdefault(zone.index, {})
        _, torn, length, tag = self.open_question.pop(zone.index, ("", -1, 0, 0))
        data = device.pread(zone.length, zone.start)
        for place in range(0, zone.length, BLOCK):
            got, old = data[place : place + BLOCK], blocks.get(place, bytes(BLOCK))
            if place == torn:
                new = content(zone.index, place, length, tag)
                assert all(b in pair for b, *pair in zip(got, old, new, strict=True)), (zone, place)
                blocks[place] = got
            else:
                assert got == old, (zone, place)

    def verify_preferred(self, device: zoned.Device, zone: zoned.Zone) -> None:
        """Each block as it was last written; nothing of a write that did not raise the pointer is behind it."""
        blocks, end = self.blocks.setdefault(zone.index, {}), self.ends.get(zone.index, 0)
        command, place, length, tag = self.open_question.pop(zone.index, ("", 0, 0, 0))
        written = zone_written(device, zone.index)
        if command:
            self.touched.add(zone.index)
        if command == "reset" and zone.condition is zoned.ZoneCondition.EMPTY:
            self.done("reset", zone.index, 0, 0, 0)
            blocks, end = self.blocks[zone.index], 0
        elif command == "finish" and zone.condition is zoned.ZoneCondition.FULL:
            self.finished.add(zone.index)
        unsure = range(place, place + length) if command in ("write", "append") else range(0)
        assert written in (end, max(end, unsure.stop)), (zone, written, command)
        data = device.pread(zone.capacity, zone.start)
        for at in range(0, zone.capacity, BLOCK):
            got, old = data[at : at + BLOCK], blocks.get(at, bytes(BLOCK))
            if at in unsure and at < written:
                new = content(zone.index, at, BLOCK, tag)
                if at < end:
                    assert all(b in pair for b, *pair in zip(got, old, new, strict=True)), (
                        zone,
                        at,
                    )
                else:
                    assert got == new, (zone, at)
                blocks[at] = got
            else:
                assert got == (old if at < written else bytes(BLOCK)), (zone, at)
        self.ends[zone.index] = written
        full = zone.index in self.finished or written == zone.capacity
        assert (zone.condition is zoned.ZoneCondition.FULL) == full, zone

    def verify(self, device: zoned.Device, zone: zoned.Zone) -> None:
        """Every acknowledged byte is there, and nothing else is."""
        self.settle(device, zone)
        writes = self.writes.get(zone.index, [])
        end = sum(length for _, length, _ in writes)
        wanted = b"".join(content(zone.index, place, length, tag) for place, length, tag in writes)
        assert device.pread(end, zone.start) == wanted, f"content of {zone}"
        if zone.index in self.finished or end == zone.capacity:
            assert zone.condition == zoned.ZoneCondition.FULL, zone
        elif end == 0:
            # a write that was cut short may have opened its zone already
            opened = zone.index in self.touched
            assert zone.condition == zoned.ZoneCondition.EMPTY or (
                opened and zone.condition.is_open
            )
            assert zone.wp == zone.start, zone
        else:
            assert zone.wp == zone.start + end, zone
        rest = device.pread(zone.capacity - end, zone.start + end)
        assert not rest.strip(b"\0"), f"stale data beyond what was written in {zone}"
