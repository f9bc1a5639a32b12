"""The emulator against null_blk and scsi_debug of a real kernel: random scenarios, other ones each run.

``ZONED_KERNEL_SEED`` repeats a run, ``ZONED_KERNEL_STEPS`` sets how many steps there are (at least).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from kernel import generate
from kernel.judge import Finding, Judge

STEPS = int(os.environ.get("ZONED_KERNEL_STEPS") or 5400)
pytestmark = pytest.mark.kernel


def test_random_scenarios(judge: Judge, seed: int, note: Callable[[str], None]) -> None:
    """Not one difference; the first of each kind is shrunk and shown."""
    scenarios = list(generate.scenarios(seed, STEPS))
    before = judge.compared
    found = judge.judge(scenarios)
    compared = judge.compared - before
    note(f"{len(scenarios)} random scenarios, {compared:,} steps compared")
    kinds: dict[tuple[object, ...], Finding] = {}
    for finding in sorted(found, key=lambda finding: finding.at):
        kinds.setdefault((finding.scenario.disk.kind, *finding.kind), finding)
    shrunk = [judge.shrink(finding) for finding in list(kinds.values())[:3]]
    if shrunk:
        told = "\n\n".join(map(str, shrunk))
        pytest.fail(f"{len(found)} scenarios differ (ZONED_KERNEL_SEED={seed}):\n{told}")
    assert compared == sum(len(scenario.steps) for scenario in scenarios)
    assert compared >= STEPS
