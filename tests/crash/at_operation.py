"""One story after the other, killed at each of its operations on the host's file: what is left must be sound.

python at_operation.py FOLDER, with killat.so preloaded. Some are of a disk whose zones have random write areas. A story is steps on an image; a child goes through them, saying
which are done, and is killed at its first, second, ... operation, until one kill comes too late. Each time the image
must be as after the steps that were acknowledged, or one more, zone by zone; `check` must find no error in it before
and nothing at all after the next close; and so in a copy, which has no living state.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zoned

BLOCK, ZONE_SIZE, ZONES = 4096, 65536, 8
Zone = tuple[str, int | None, range | None, bytes]
State = list[Zone]
Step = Callable[[zoned.Device], object]
Prepare = Callable[[Path, str], None]
library = ctypes.CDLL(None)


def state(device: zoned.Device) -> State:
    """Condition, bytes written (None: no write pointer), random write area and content of each zone."""
    return [
        (
            zone.condition.name,
            None if zone.wp is None else zone.wp - zone.start,
            device.write_area(zone.index),
            device.pread(zone.capacity, zone.start),
        )
        for zone in device.zones
    ]


def data(tag: int, blocks: int = 1) -> bytes:
    return bytes([tag]) * (BLOCK * blocks)


def created(path: Path, host_sync: str, **more: Any) -> zoned.Device:
    """A new disk of eight zones, of which one is conventional and three may be open."""
    return zoned.create(
        path,
        size=ZONES * ZONE_SIZE,
        zone_size=ZONE_SIZE,
        conventional=1,
        max_open=3,
        slot_cache=0,
        unrestricted_read=True,
        replace=True,
        host_sync=host_sync,
        **more,
    )


def make(path: Path, host_sync: str) -> None:
    """Zones 0 conventional, 2 flushed, 3 written and not flushed, 4 with both; 5 new."""
    with created(path, host_sync) as device:
        device.pwrite(data(1, 2), 0)
        device.append(2, data(2, 2))
        device.append(4, data(4))
        device.flush()
        device.append(3, data(3))
        device.append(4, data(5))


STORIES: dict[str, Sequence[Step]] = {
    "only opened": [],
    "a flush of an image that was closed cleanly": [lambda d: d.flush()],
    "a write and a flush": [lambda d: d.append(5, data(6)), lambda d: d.flush()],
    "overwritten in place": [
        lambda d: d.pwrite(data(7), BLOCK),
        lambda d: d.flush(),
        lambda d: d.pwrite(data(8), BLOCK),
    ],
    "reset and written again": [
        lambda d: d.reset_zone(4),
        lambda d: d.append(4, data(9)),
        lambda d: d.flush(),
        lambda d: d.reset_zone(2),
        lambda d: d.append(2, data(10)),
        lambda d: d.reset_zone(4),
        lambda d: d.flush(),
    ],
    "finished, opened, closed": [
        lambda d: d.finish_zone(3),
        lambda d: d.open_zone(6),
        lambda d: d.close_zone(4),
        lambda d: d.flush(),
    ],
}


AREAS = "areas: "
"""How the name of a story begins that needs them."""
AREA_STORIES: dict[str, Sequence[Step]] = {
    "areas: written inside and beyond": [
        lambda d: d.open_zone_zrwa(5),
        lambda d: d.pwrite(data(6, 3), 5 * ZONE_SIZE + BLOCK),
        lambda d: d.pwrite(data(7), 5 * ZONE_SIZE + 6 * BLOCK),
        lambda d: d.flush(),
    ],
    "areas: committed": [
        lambda d: d.commit_zone(2, 2 * ZONE_SIZE + 2 * BLOCK),
        lambda d: d.pwrite(data(6), 2 * ZONE_SIZE + 3 * BLOCK),
        lambda d: d.commit_zone(3, 3 * ZONE_SIZE + 4 * BLOCK),
        lambda d: d.flush(),
    ],
    "areas: ended": [
        lambda d: d.finish_zone(2),
        lambda d: d.close_zone(3),
        lambda d: d.open_zone_zrwa(6),
        lambda d: d.reset_zone(3),
        lambda d: d.flush(),
    ],
    "areas: closed for others": [
        lambda d: d.close_zone(2),
        lambda d: d.pwrite(data(8), 2 * ZONE_SIZE + 3 * BLOCK),
        lambda d: d.append(5, data(9)),
        lambda d: d.append(6, data(9)),
        lambda d: d.flush(),
    ],
}


def make_areas(path: Path, host_sync: str) -> None:
    """Zones 2 and 3 have areas: one flushed and written over, one that is committed in part; 4 has none."""
    areas = {"zrwa_size": 4 * BLOCK, "zrwa_granularity": 2 * BLOCK, "zrwa_count": 3}
    with created(path, host_sync, dialect="zns", **areas) as device:
        device.open_zone_zrwa(2)
        device.open_zone_zrwa(3)
        device.pwrite(data(1, 3), 2 * ZONE_SIZE)
        device.pwrite(data(2, 6), 3 * ZONE_SIZE)
        device.flush()
        device.pwrite(data(3), 2 * ZONE_SIZE + BLOCK)
        device.append(4, data(5))


def story(path: Path, steps: Sequence[Step], say: Callable[[], object]) -> None:
    device = zoned.open(path)
    for step in steps:
        step(device)
        say()
    device.close()
    say()


def sound(path: Path, when: str) -> None:
    errors = [finding for finding in zoned.check(path) if finding.error]
    assert not errors, f"{when}: {errors}"


def killed(work: Callable[[Callable[[], object]], object]) -> int | None:
    """Run work(say) in a child that kill_at() kills. How often it said; None: it went through."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda: os.write(tell, b"."))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - told by the exit status
            print(f"{error!r}", file=sys.stderr, flush=True)
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        done = len(pipe.read())
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return done
    assert status == 0, "a story failed by itself"
    return None


def tell(name: str, path: Path, steps: Sequence[Step], prepare: Callable[[], object]) -> int:
    """Kill it everywhere. Returns at how many places."""
    prepare()
    states = []
    device = zoned.open(path)
    states.append(state(device))
    for step in steps:
        step(device)
        states.append(state(device))
    device.close()
    states.append(states[-1])
    for at in itertools.count(1):

        def work(say: Callable[[], object], at: int = at) -> None:
            library.kill_at(at)
            story(path, steps, say)

        prepare()
        done = killed(work)  # steps; the close is one
        if done is None:
            return at - 1
        when = f"{name}, killed at operation {at}, {done} of {len(steps)} steps done"
        copy = path.with_name("copy.img")
        copy.write_bytes(path.read_bytes())
        sound(path, when)
        sound(copy, f"{when}, a copy")
        zoned.open(copy).close()
        assert zoned.check(copy) == [], f"{when}, a copy opened and closed"
        for again in range(2):
            with zoned.open(path) as device:
                for zone, got in enumerate(state(device)):
                    wanted = (states[done][zone], states[min(done + 1, len(steps) + 1)][zone])
                    seen = f"{when}, opening {again}: zone {zone}: {got[:3]} of {[w[:3] for w in wanted]}"
                    # A write that was cut short may have opened its zone already.
                    assert got[0] in [condition for condition, *_ in wanted], seen
                    assert got[1:] in [w[1:] for w in wanted], seen
            assert zoned.check(path) == [], when
    raise AssertionError


def main(folder: Path) -> None:
    path = folder / "disk.img"
    everything = os.environ.get("ZONED_LONG", "") not in ("", "0")
    stories = STORIES | AREA_STORIES
    for host_sync, (name, steps) in itertools.product(("flush", "command"), stories.items()):
        if host_sync == "command" and not everything and len(steps) > 3:
            continue  # each of many steps is as a short story then
        prepare = make_areas if name.startswith(AREAS) else make

        def fresh(host_sync: str = host_sync, prepare: Prepare = prepare) -> None:
            prepare(path, host_sync)

        def left(host_sync: str = host_sync, prepare: Prepare = prepare) -> None:
            """Somebody wrote to it and died before."""
            prepare(path, host_sync)
            child = os.fork()
            if child == 0:
                device = zoned.open(path)
                if prepare is make:
                    device.append(5, data(11))
                else:
                    device.pwrite(data(11), 2 * ZONE_SIZE + 3 * BLOCK)
                device.append(4, data(12))
                os.kill(os.getpid(), signal.SIGKILL)
            os.waitpid(child, 0)

        print(tell(name, path, steps, fresh), name, host_sync, flush=True)
        print(tell(f"{name}, of what was left", path, steps, left), name, "left", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
