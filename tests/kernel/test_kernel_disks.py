"""The emulator against null_blk and scsi_debug of a real kernel: the scenarios written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel import emulator, handwritten
from kernel.differences import KNOWN
from kernel.finding import Finding
from kernel.judge import Judge
from kernel.scenario import Record, Scenario

SCENARIOS = {scenario.name: scenario for scenario in handwritten.scenarios()}
pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def findings(judge: Judge, note: Callable[[str], None]) -> dict[str, Finding]:
    """All scenarios go to the kernel in one job."""
    before = judge.compared
    found = {finding.scenario.name: finding for finding in judge.judge(list(SCENARIOS.values()))}
    note(f"{len(SCENARIOS)} scenarios by hand, {judge.compared - before:,} steps compared")
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, findings: dict[str, Finding]) -> None:
    """Result, error, data and every zone after every step, as the kernel has them."""
    if name in findings:
        pytest.fail(str(findings[name]))


def test_every_known_difference_is_real(findings: dict[str, Finding], judge: Judge) -> None:
    """A difference that a kernel no longer shows must leave the list."""
    assert findings == {}
    assert sorted(judge.tolerated) == sorted(known.name for known in KNOWN)


def _oldest(scenario: Scenario) -> list[Record]:
    """The emulator with another rule for who is closed."""
    wrong = emulator.Emulator(scenario.disk, implicit_close="oldest")
    try:
        return [wrong.first(), *(wrong.do(step) for step in scenario.steps)]
    finally:
        wrong.close()


def test_the_judge_finds_a_wrong_rule(judge: Judge) -> None:
    """And shrinks it to the three writes that show it: two zones, opened in descending order, and a third."""
    misled = Judge(judge.kernel, _oldest)
    (finding,) = misled.judge([SCENARIOS["scsi_debug-open2-victims"]])
    small = misled.shrink(finding)
    assert [step.do for step in small.scenario.steps] == ["write"] * 3
    assert "kernel cl:8192, emulator oi:8192" in str(small)
