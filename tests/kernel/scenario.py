"""Scenarios: a disk and a list of steps, as data that goes to the kernel and to the emulator alike.

A step is its name and arguments; what names there are is up to the two interpreters (``kernel.guest`` for
the kernel, ``kernel.emulator`` for us). Offsets and lengths are bytes. Everything turns into JSON and back,
so a scenario that a test printed can be run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

MIB = 1 << 20
Record = dict[str, Any]


@dataclass(frozen=True)
class Disk:
    """What the kernel is asked to emulate, and we with it. All sizes in whole MiB, as the kernel counts."""

    kind: str
    """``null_blk`` (dialect nullblk, round-robin) or ``scsi_debug`` (dialect zbc, lowest)."""
    size: int = 16 * MIB
    zone_size: int = MIB
    zone_capacity: int = MIB
    conventional: int = 2
    block: int = 4096
    max_open: int = 0
    max_active: int = 0
    model: str = "host-managed"

    @property
    def nr_zones(self) -> int:
        return -(-self.size // self.zone_size)

    def start(self, zone: int) -> int:
        return zone * self.zone_size

    def capacity(self, zone: int) -> int:
        """Writable bytes of a zone."""
        length = min(self.zone_size, self.size - self.start(zone))
        return length if zone < self.conventional else min(length, self.zone_capacity)


@dataclass(frozen=True)
class Step:
    do: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"do": self.do, **self.arguments}

    def __str__(self) -> str:
        return " ".join([self.do, *(f"{name}={value}" for name, value in self.arguments.items())])

    # ---------------------------------------------------------------- by name

    @staticmethod
    def write(at: int, length: int) -> Step:
        return Step("write", {"at": at, "length": length})

    @staticmethod
    def read(at: int, length: int) -> Step:
        return Step("read", {"at": at, "length": length})

    @staticmethod
    def flush() -> Step:
        return Step("flush")

    @staticmethod
    def zone_command(name: str, zone: int) -> Step:
        """open, close, finish or reset."""
        return Step(name, {"zone": zone})

    @staticmethod
    def all_command(name: str) -> Step:
        """open, close, finish or reset; null_blk knows reset alone."""
        return Step(f"{name}_all")

    @staticmethod
    def condition(zone: int, to: str) -> Step:
        """null_blk only: to ``read-only``, ``offline``, or back to ``empty``."""
        return Step("condition", {"zone": zone, "to": to})


@dataclass(frozen=True)
class Scenario:
    name: str
    disk: Disk
    steps: tuple[Step, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What an interpreter wants to know beside the disk: how to make and mount a file system on it."""

    def with_steps(self, steps: Sequence[Step]) -> Scenario:
        return replace(self, steps=tuple(steps))

    def as_json(self) -> dict[str, Any]:
        steps = [step.as_json() for step in self.steps]
        return {
            "name": self.name,
            "disk": asdict(self.disk),
            "options": dict(self.options),
            "steps": steps,
        }

    def dumps(self) -> str:
        """On one line."""
        return json.dumps(self.as_json(), separators=(",", ":"))

    @classmethod
    def loads(cls, text: str) -> Scenario:
        raw = json.loads(text)
        steps = [
            Step(step["do"], {name: value for name, value in step.items() if name != "do"})
            for step in raw["steps"]
        ]
        return cls(raw["name"], Disk(**raw["disk"]), tuple(steps), raw["options"])
