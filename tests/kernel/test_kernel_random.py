"""The emulator against null_blk and scsi_debug of a real kernel: random scenarios, other ones each run.

``ZONED_KERNEL_SEED`` repeats a run, ``ZONED_KERNEL_STEPS`` sets how many steps there are (at least).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kernel import generate
from kernel.judge import Judge

STEPS = int(os.environ.get("ZONED_KERNEL_STEPS") or 5400)
pytestmark = pytest.mark.kernel


def test_random_scenarios(judge: Judge, seed: int, note: Callable[[str], None]) -> None:
    """Not one difference; the first of each kind is shrunk and shown."""
    scenarios = list(generate.scenarios(seed, STEPS))
    before = judge.compared
    found = judge.judge(scenarios)
    compared = judge.compared - before
    note(f"{len(scenarios)} random scenarios, {compared:,} steps compared")
    if found:
        told = "\n\n".join(map(str, judge.shrunk(found)))
        pytest.fail(f"{len(found)} scenarios differ (ZONED_KERNEL_SEED={seed}):\n{told}")
    assert compared == sum(len(scenario.steps) for scenario in scenarios)
    assert compared >= STEPS
