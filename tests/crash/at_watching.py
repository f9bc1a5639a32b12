"""Snapshots and recordings, killed at each operation on the host, beside somebody who has the disk open all the time.

python at_watching.py FOLDER, with killat.so preloaded. A child goes through a story and is killed at its first, second,
... operation, until one kill comes too late. The other opener then sees the disk as behind the steps that were done, or
one more, and in case of a rollback all of it so; it goes on, and records. A trace can be read as far as it goes. Once it
has closed the disk too, no slot is held any more.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import zoned
from crash.at_operation import BLOCK, State, Step, data, killed, library, make, state

Held = dict[str, zoned.Snapshot]


def snapshots(_: Path) -> Sequence[Step]:
    held: Held = {}

    def forked(_: zoned.Device) -> None:
        with held["first"].fork() as fork:
            fork.append(3, data(20))
            fork.pwrite(data(21), 0)
            fork.power_cut("random", 3)

    return [
        lambda d: held.update(first=d.snapshot()),
        lambda d: d.append(5, data(6)),
        lambda d: d.pwrite(data(7), BLOCK),
        lambda d: d.reset_zone(2),
        lambda d: d.append(2, data(8)),
        forked,
        lambda d: d.rollback(held["first"]),
        lambda d: held.update(second=d.snapshot()),
        lambda d: d.reset_zone(4),
        lambda d: held["first"].close(),
        lambda d: d.flush(),
        lambda d: d.rollback(held["second"]),
        lambda d: held["second"].close(),
    ]


def recording(trace: Path) -> Sequence[Step]:
    return [
        lambda d: d.trace.start(trace),
        lambda d: d.append(5, data(6)),
        lambda d: d.pwrite(data(7), BLOCK),
        lambda d: d.reset_zone(4),
        lambda d: d.flush(),
        lambda d: d.trace.stop(),
        lambda d: d.append(5, data(8)),
    ]


def commands(trace: Path) -> list[str]:
    """What a trace that was cut short tells; nothing where not even its beginning was written."""
    if not trace.exists() or not trace.stat().st_size:
        return []
    return [item.command for item in zoned.Trace(trace, partial=True)]


def go_on(device: zoned.Device, trace: Path, when: str) -> None:
    """The disk is as good as any: it is written, recorded, and gives back what nobody needs."""
    with device.trace.record(trace):
        device.append(6, data(30))
    assert commands(trace) == ["append"], when
    with device.snapshot() as again:
        device.append(6, data(31))
        device.rollback(again)
    assert device.zones[6].written == BLOCK, when


def see(shown: State, wanted: Sequence[State], whole: bool, when: str) -> None:
    if whole:
        assert shown in wanted, f"{when}: gone back in part"
    for zone, got in enumerate(shown):
        assert got[1:] in [one[zone][1:] for one in wanted], f"{when}: zone {zone}: {got[:2]}"


def tell(
    name: str, folder: Path, story: Callable[[Path], Sequence[Step]], backs: Sequence[int]
) -> int:
    """Kill it everywhere. Returns at how many places."""
    path, trace, later = folder / "disk.img", folder / "a.trace", folder / "later.trace"
    make(path, "flush")
    states = []
    with zoned.open(path) as device:
        for step in [lambda _: None, *story(trace)]:
            step(device)
            states.append(state(device))
    told = [one for one in commands(trace) if one != "read"]  # those of the looks above
    for at in itertools.count(1):
        make(path, "flush")
        trace.unlink(missing_ok=True)
        with zoned.open(path) as other:

            def work(say: Callable[[], object], at: int = at) -> None:
                device = zoned.open(path)
                library.kill_at(at)
                for step in story(trace):
                    step(device)
                    say()
                device.close()

            done = killed(work)
            when = f"{name}, killed at operation {at}, {done} steps done"
            if done is None:
                return at - 1
            see(state(other), states[done : done + 2], done in backs, when)
            try:
                assert commands(trace) == told[: len(commands(trace))], when
            except zoned.TraceError:
                assert done == 0, when  # the beginning of the file is part of the first step
            go_on(other, later, when)
        assert zoned.check(path) == [], when
        with zoned.open(path) as device:
            shown = device.info()
            held = sum(1 for zone in device.zones if zone.wp is None or zone.written)
            assert shown.slots_used <= held, f"{when}: a slot is held"
    raise AssertionError


def main(folder: Path) -> None:
    print(tell("snapshots", folder, snapshots, (6, 11)), "snapshots", flush=True)
    print(tell("recording", folder, recording, ()), "recording", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
