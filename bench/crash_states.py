"""What a crash state costs: 10,000 survivors of a 64 MiB disk with 16 unflushed zones, each made,
asked for its zones and closed.

    .venv/bin/python bench/crash_states.py

Prints milliseconds each; the aim is less than 0.2. The second line is the same with 16 unflushed
blocks in a conventional zone as well.
"""

from __future__ import annotations

import time

import zoned

MIB = 1 << 20
STATES = 10_000
AIM = 0.2  # ms


def disk(overwritten: int) -> zoned.Device:
    dev = zoned.memory(size=64 * MIB, zone_size=MIB, conventional=1, max_open=0, logical_block=4096)
    dev.pwrite(bytes(MIB), 0)
    dev.flush()
    for zone in range(1, 17):
        dev.append(zone, b"u" * 4096 * 8)
    for block in range(overwritten):
        dev.pwrite(b"n" * 4096, block * 8192)
    return dev


def measure(overwritten: int) -> float:
    """Milliseconds for each state."""
    with disk(overwritten) as dev:
        begin = time.perf_counter()
        count = 0
        with dev.crash_states("random", limit=STATES) as states:
            for survivor in states:
                count += 1
                assert survivor.zones[1].length == MIB
        assert count == STATES
        return (time.perf_counter() - begin) / STATES * 1000


def main() -> None:
    for overwritten in (0, 16):
        each = measure(overwritten)
        verdict = "" if each < AIM else f"  (the aim is {AIM})"
        print(
            f"{STATES} crash states, 16 unflushed zones, {overwritten} overwritten blocks: "
            f"{each:.4f} ms each{verdict}"
        )


if __name__ == "__main__":
    main()
