"""Our zonefs against the kernel's: random scenarios, other ones each run.

``ZONED_KERNEL_SEED`` repeats a run, ``ZONED_KERNEL_STEPS`` sets how many steps there are (at least).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kernel import zonefs_generate
from kernel.judge import Judge
from kernel.zonefs_doors import DOORS

STEPS = int(os.environ.get("ZONED_KERNEL_STEPS") or 5000)
pytestmark = [pytest.mark.kernel, pytest.mark.fuse]


def test_random_scenarios(zonefs_judge: Judge, seed: int, note: Callable[[str], None]) -> None:
    """Not one difference that is not known; the first of each kind is shrunk and shown."""
    scenarios = list(zonefs_generate.scenarios(seed, STEPS))
    asked = sum(len(scenario.steps) for scenario in scenarios)
    before, skipped = zonefs_judge.compared, zonefs_judge.skipped
    found = zonefs_judge.judge(scenarios)
    compared = zonefs_judge.compared - before
    note(
        f"{len(scenarios)} random zonefs scenarios, {asked:,} steps, {compared:,} compared at the "
        f"{len(DOORS)} doors (of {zonefs_judge.skipped - skipped} only what they left)"
    )
    if found:
        told = "\n\n".join(map(str, zonefs_judge.shrunk(found)))
        pytest.fail(f"{len(found)} scenarios differ (ZONED_KERNEL_SEED={seed}):\n{told}")
    assert asked >= STEPS
    assert compared == asked * len(DOORS)
