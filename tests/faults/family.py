"""What state machines over snapshots share: disks that are forks of forks, each beside a model of it.

A subclass brings the first disk and its model, and the rules that change both; the model is any object with
``agrees(dev)`` that copy.deepcopy() copies.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import zoned

NUMBER = st.integers(0, 99)


class Family(RuleBasedStateMachine):
    """Up to five disks and five snapshots; ``path`` is the first disk's image, if it has one."""

    def __init__(self) -> None:
        super().__init__()
        self.path: Path | None = None
        self.disks: list[tuple[zoned.Device, Any]] = []
        self.snapshots: list[tuple[zoned.Device, zoned.Snapshot, Any]] = []
        self.tick = 0

    def begin(self, model: Any, in_file: bool, /, **keywords: Any) -> None:
        if in_file:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"
            self.path = Path(folder) / f"zoned-{type(self).__module__}-{os.getpid()}.img"
            first = zoned.create(self.path, replace=True, **keywords)
        else:
            first = zoned.memory(**keywords)
        self.disks = [(first, model)]

    def disk(self, number: int) -> tuple[zoned.Device, Any]:
        return self.disks[number % len(self.disks)]

    def fresh(self, length: int) -> bytes:
        """Bytes that were never written before."""
        self.tick += 1
        return self.tick.to_bytes(4, "big") * (length // 4)

    @rule(number=NUMBER)
    def snapshot(self, number: int) -> None:
        if len(self.snapshots) < 5:
            dev, model = self.disk(number)
            self.snapshots.append((dev, dev.snapshot(), copy.deepcopy(model)))

    @rule(number=NUMBER)
    def rollback(self, number: int) -> None:
        if self.snapshots:
            dev, snapshot, then = self.snapshots[number % len(self.snapshots)]
            for where, (disk, _) in enumerate(self.disks):
                if disk is dev:
                    dev.rollback(snapshot)
                    self.disks[where] = (dev, copy.deepcopy(then))

    @rule(number=NUMBER)
    def fork(self, number: int) -> None:
        if self.snapshots and len(self.disks) < 5:
            _, snapshot, then = self.snapshots[number % len(self.snapshots)]
            self.disks.append((snapshot.fork(), copy.deepcopy(then)))

    @rule(number=NUMBER)
    def close_a_fork(self, number: int) -> None:
        if len(self.disks) > 1:
            self.disks.pop(1 + number % (len(self.disks) - 1))[0].close()

    @rule(number=NUMBER)
    def forget(self, number: int) -> None:
        if self.snapshots:
            self.snapshots.pop(number % len(self.snapshots))[1].close()

    @invariant()
    def agree(self) -> None:
        for dev, model in self.disks:
            model.agrees(dev)

    def teardown(self) -> None:
        for _, snapshot, _ in self.snapshots:
            snapshot.close()
        for dev, _ in reversed(self.disks):
            dev.close()
        if self.path:
            try:
                self.check_image(self.path)
            finally:
                self.path.unlink()

    def check_image(self, path: Path) -> None:
        """Of the closed first disk."""
        assert [str(found) for found in zoned.check(path) if found.error] == []
