"""Asks the kernel and the emulator to run the same scenarios, compares their records, shrinks what differs.

Nothing here knows what the steps do: an interpreter for the guest (a file, with what it imports) and a
function for our side make a judge. One call to ``ask`` is one job in the guest, whatever the number of
scenarios.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import lab
from kernel.differences import KNOWN, Difference
from kernel.scenario import Record, Scenario, Step

HERE = Path(__file__).parent
BATCH = 24
MOST_ROUNDS = 40


@dataclass(frozen=True)
class Finding:
    """The first record that differs."""

    scenario: Scenario
    at: int
    """Number of the step, from 1; 0 is the fresh disk."""
    ours: Record
    theirs: Record
    before: Record | None

    @property
    def kind(self) -> tuple[object, ...]:
        """What kind of difference it is; a smaller scenario should show the same."""
        step = self.scenario.steps[self.at - 1].do if self.at else "fresh"
        return (step, *(tuple(self._brief(record)) for record in (self.ours, self.theirs)))

    def _brief(self, record: Record) -> Iterator[object]:
        yield record.get("error")
        yield record.get("result") is None

    def __str__(self) -> str:
        scenario = self.scenario
        lines = [f"scenario {scenario.name} on {scenario.disk}"]
        lines += [f"  {n:3} {step}" for n, step in enumerate(scenario.steps[: self.at], 1)]
        where = f"after step {self.at} ({scenario.steps[self.at - 1]})" if self.at else "fresh"
        lines.append(f"first difference: {where}")
        names = sorted(set(self.ours) | set(self.theirs))
        for name in names:
            ours, theirs = self.ours.get(name), self.theirs.get(name)
            if ours == theirs and name != "error":
                lines.append(f"  {name}: both {_brief(ours)}")
                continue
            if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
                before = (self.before or {}).get(name, ours)
                for zone, (mine, its, old) in enumerate(zip(ours, theirs, before, strict=True)):
                    if mine != its:
                        lines.append(
                            f"  {name}[{zone}]: kernel {its}, emulator {mine}, before {old}"
                        )
                continue
            lines.append(f"  {name}: kernel {theirs!r}, emulator {ours!r}")
        if self.before is not None:
            lines.append(f"zones before the step: {' '.join(self.before['zones'])}")
        lines.append(f"as JSON: {scenario.with_steps(scenario.steps[: self.at]).dumps()}")
        return "\n".join(lines)


def _brief(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else repr(value)


class Judge:
    """``interpreter`` and ``libraries`` are files of this folder, run in the guest as
    ``python interpreter SCENARIOS RECORDS``.
    """

    def __init__(
        self,
        kernel: lab.Kernel,
        ours: Callable[[Scenario], list[Record]],
        *,
        interpreter: str = "guest.py",
        libraries: Sequence[str] = (),
        known: Sequence[Difference] = KNOWN,
    ) -> None:
        self.kernel = kernel
        self.ours = ours
        self.known = known
        self.compared = 0  # steps
        self.tolerated: dict[str, int] = {}
        self._interpreter = interpreter
        for name in (interpreter, *libraries):
            shutil.copy(HERE / name, kernel.share / name)

    def ask(self, scenarios: Sequence[Scenario], timeout: float = 600.0) -> list[list[Record]]:
        """What the kernel answers: for each scenario the fresh disk's record and one for each step."""
        if not scenarios:
            return []
        asked, told = self.kernel.share / "scenarios", self.kernel.share / "records"
        # Disks of one shape behind one another: to change scsi_debug's shape is to load it anew.
        order = sorted(range(len(scenarios)), key=lambda i: (repr(scenarios[i].disk), i))
        asked.write_text("".join(scenarios[i].dumps() + "\n" for i in order))
        told.unlink(missing_ok=True)
        done = self.kernel.run(
            [lab.python(), f"/job/{self._interpreter}", "/job/scenarios", "/job/records"],
            timeout=timeout,
        )
        if done.status:
            raise lab.LabError(f"the interpreter in the guest failed:\n{done.output}")
        lines = told.read_text().splitlines()
        answers = dict(zip(order, lines, strict=True))
        return [json.loads(answers[i]) for i in range(len(scenarios))]

    def judge(self, scenarios: Sequence[Scenario]) -> list[Finding]:
        """The first difference of each scenario that has one."""
        found = []
        for scenario, theirs in zip(scenarios, self.ask(scenarios), strict=True):
            finding = self.compare(scenario, self.ours(scenario), theirs)
            if finding is not None:
                found.append(finding)
        return found

    def compare(
        self, scenario: Scenario, ours: Sequence[Record], theirs: Sequence[Record]
    ) -> Finding | None:
        before: Record | None = None
        steps: list[Step | None] = [None, *scenario.steps]
        for at, (step, mine, its) in enumerate(zip(steps, ours, theirs, strict=True)):
            self.compared += at > 0
            if mine != its:
                known = self._known(scenario, step, before, mine, its)
                if known is None:
                    return Finding(scenario, at, mine, its, before)
                self.tolerated[known.name] = self.tolerated.get(known.name, 0) + 1
                if known.ends:
                    return None
            before = mine
        return None

    def _known(
        self,
        scenario: Scenario,
        step: Step | None,
        before: Record | None,
        ours: Record,
        theirs: Record,
    ) -> Difference | None:
        if step is None or before is None:
            return None
        disk, zones = scenario.disk, before["zones"]
        for known in self.known:
            if (
                known.kind == disk.kind
                and known.applies(disk, step, zones)
                and known.theirs(disk, step, zones, theirs)
                and known.ours(disk, step, zones, ours)
                and (known.ends or ours["zones"] == theirs["zones"])
            ):
                return known
        return None

    # ------------------------------------------------------------ shrinking

    def shrink(self, finding: Finding) -> Finding:
        """Drop steps while the difference stays; many candidates go to the guest at once."""
        best = self._cut(finding)
        size = max(1, len(best.scenario.steps) // 2)
        for _ in range(MOST_ROUNDS):
            steps = best.scenario.steps
            candidates = [
                best.scenario.with_steps(steps[:at] + steps[at + size :])
                for at in range(0, len(steps) - 1, size)
            ][-BATCH:]
            smaller = [
                found
                for found in self.judge([c for c in candidates if c.steps])
                if found.kind == finding.kind
            ]
            if smaller:
                best = self._cut(min(smaller, key=lambda found: found.at))
                size = min(size, max(1, len(best.scenario.steps) // 2))
            elif size == 1:
                break
            else:
                size = max(1, size // 2)
        return best

    @staticmethod
    def _cut(finding: Finding) -> Finding:
        """Nothing behind the difference matters."""
        scenario = finding.scenario.with_steps(finding.scenario.steps[: finding.at])
        return Finding(scenario, finding.at, finding.ours, finding.theirs, finding.before)
