"""Our zonefs against the kernel's: the scenarios written by hand, at the strict mount and in process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kernel import zonefs_handwritten as handwritten
from kernel.finding import Finding
from kernel.judge import Judge
from kernel.scenario import Record, Scenario
from kernel.zonefs_differences import KNOWN
from kernel.zonefs_doors import DOORS

SCENARIOS = {scenario.name: scenario for scenario in handwritten.scenarios()}
pytestmark = [pytest.mark.kernel, pytest.mark.fuse]


@pytest.fixture(scope="module")
def findings(zonefs_judge: Judge, note: Callable[[str], None]) -> dict[str, list[Finding]]:
    """All scenarios go to the kernel in one job."""
    found: dict[str, list[Finding]] = {}
    for finding in zonefs_judge.judge(list(SCENARIOS.values())):
        found.setdefault(finding.scenario.name, []).append(finding)
    asked = sum(len(scenario.steps) for scenario in SCENARIOS.values())
    note(
        f"{len(SCENARIOS)} zonefs scenarios by hand, {asked:,} steps, {zonefs_judge.compared:,} compared at "
        f"the {len(DOORS)} doors (of {zonefs_judge.skipped} only what they left)"
    )
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, findings: dict[str, list[Finding]]) -> None:
    """Result, errno, data, files, counters and zones after every step, as the kernel has them."""
    if name in findings:
        pytest.fail("\n\n".join(map(str, findings[name])))


def test_every_known_difference_is_real(
    findings: dict[str, list[Finding]], zonefs_judge: Judge
) -> None:
    """A difference that no longer shows, at a door that is named for it, must leave the list."""
    assert findings == {}
    listed = {(door, known.name) for known in KNOWN for door in known.doors}
    assert zonefs_judge.tolerated_at == listed


def test_scenarios_prove_something(findings: dict[str, list[Finding]], zonefs_judge: Judge) -> None:
    """Each step is compared at each door it is meant for, but behind a difference that ends a scenario."""
    assert findings == {}
    meant = sum(
        len(scenario.steps) * len(scenario.options.get("doors", DOORS))
        for scenario in SCENARIOS.values()
    )
    assert meant >= zonefs_judge.compared >= 0.98 * meant
    assert zonefs_judge.skipped < 0.02 * meant


def _forgets(scenario: Scenario) -> list[Record]:
    """A mount whose truncate to the capacity does nothing to the zone."""
    records = DOORS["process"](scenario)
    for step, before, after in zip(scenario.steps, records, records[1:], strict=False):
        if step.do == "truncate" and step.arguments["size"]:
            after["zones"] = before["zones"]
    return records


def test_the_judge_finds_a_wrong_rule(zonefs_judge: Judge) -> None:
    """And shrinks it to the one step that shows it."""
    misled = Judge(
        zonefs_judge.kernel,
        {"process": _forgets},
        interpreter="guest_zonefs.py",
        libraries=("guest.py", "zonefs_calls.py"),
        known=KNOWN,
    )
    (finding,) = misled.judge([SCENARIOS["null_blk-tree-1-conventional"]])
    small = misled.shrink(finding)
    assert [step.do for step in small.scenario.steps] == ["truncate"]
    assert "kernel fu, process em:0" in str(small)
