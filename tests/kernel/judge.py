"""Asks the kernel and the emulator to run the same scenarios, compares their records, shrinks what differs.

Nothing here knows what the steps do: an interpreter for the guest (a file, with what it imports) and a
function for our side make a judge. One call to ``ask`` is one job in the guest, whatever the number of
scenarios.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kernel import lab
from kernel.differences import KNOWN
from kernel.finding import Finding
from kernel.guest import SKIPPED
from kernel.scenario import Record, Scenario

HERE = Path(__file__).parent
BATCH = 24
MOST_ROUNDS = 40
STATE = ("zones", "files", "free", "ro", "counters")
Ours = Callable[[Scenario], list[Record]]


class AnyDifference(Protocol):
    """A known difference: of the disk (kernel.differences) or of zonefs (kernel.zonefs_differences)."""

    @property
    def name(self) -> str: ...
    @property
    def ends(self) -> bool: ...
    def explains(self, finding: Finding) -> bool: ...


class Judge:
    """``interpreter`` and ``libraries`` are files of this folder; the first is run in the guest as
    ``python -m kernel.INTERPRETER SCENARIOS RECORDS``. ``ours`` is one side of ours, or several by name.
    """

    def __init__(
        self,
        kernel: lab.Kernel,
        ours: Ours | Mapping[str, Ours],
        *,
        interpreter: str = "guest.py",
        libraries: Sequence[str] = (),
        known: Sequence[AnyDifference] = KNOWN,
    ) -> None:
        self.kernel = kernel
        self.doors = ours if isinstance(ours, Mapping) else {"emulator": ours}
        self.known = known
        self.compared = 0  # steps, for each door
        self.skipped = (
            0  # of them, those for which the door has no call: what they left is compared
        )
        self.tolerated: dict[str, int] = {}
        self.tolerated_at: set[tuple[str, str]] = set()  # door and name
        self._interpreter = interpreter
        package = kernel.share / "kernel"
        package.mkdir(exist_ok=True)
        for name in (interpreter, *libraries):
            shutil.copy(HERE / name, package / name)

    def ask(self, scenarios: Sequence[Scenario], timeout: float = 1500.0) -> list[list[Record]]:
        """What the kernel answers: for each scenario the fresh disk's record and one for each step."""
        if not scenarios:
            return []
        asked, told = self.kernel.share / "scenarios", self.kernel.share / "records"
        # Disks of one shape behind one another: to change scsi_debug's shape is to load it anew.
        order = sorted(range(len(scenarios)), key=lambda i: (repr(scenarios[i].disk), i))
        asked.write_text("".join(scenarios[i].dumps() + "\n" for i in order))
        told.unlink(missing_ok=True)
        module = f"kernel.{self._interpreter.removesuffix('.py')}"
        done = self.kernel.run(
            [lab.python(), "-m", module, "/job/scenarios", "/job/records"],
            timeout=timeout,
        )
        if done.status:
            raise lab.LabError(f"the interpreter in the guest failed:\n{done.output}")
        lines = told.read_text().splitlines()
        answers = dict(zip(order, lines, strict=True))
        return [json.loads(answers[i]) for i in range(len(scenarios))]

    def judge(self, scenarios: Sequence[Scenario]) -> list[Finding]:
        """The first difference of each scenario that has one, for each door."""
        found = []
        for scenario, theirs in zip(scenarios, self.ask(scenarios), strict=True):
            for door, ours in self.doors.items():
                if door in scenario.options.get("doors", [door]):
                    finding = self.compare(scenario, ours(scenario), theirs, door)
                    if finding is not None:
                        found.append(finding)
        return found

    def compare(
        self,
        scenario: Scenario,
        ours: Sequence[Record],
        theirs: Sequence[Record],
        door: str = "emulator",
    ) -> Finding | None:
        before: Record | None = None
        assert len(ours) == len(theirs) == len(scenario.steps) + 1
        for at, (seen, its) in enumerate(zip(ours, theirs, strict=True)):
            mine = seen
            self.compared += at > 0
            if seen.get("error") == SKIPPED:
                mine = its | {name: seen[name] for name in STATE if name in seen}
                self.skipped += at > 0
            if mine != its:
                finding = Finding(scenario, at, mine, its, before, door)
                known = self._known(finding)
                if known is None:
                    return finding
                self.tolerated[known.name] = self.tolerated.get(known.name, 0) + 1
                self.tolerated_at.add((door, known.name))
                if known.ends:
                    return None
            before = mine
        return None

    def _known(self, finding: Finding) -> AnyDifference | None:
        return next((known for known in self.known if known.explains(finding)), None)

    # ------------------------------------------------------------ shrinking

    def shrunk(self, found: Sequence[Finding], most: int = 3) -> list[Finding]:
        """The first of each kind, shrunk; at most so many."""
        kinds: dict[tuple[object, ...], Finding] = {}
        for finding in sorted(found, key=lambda finding: finding.at):
            kinds.setdefault((finding.scenario.disk.kind, *finding.kind), finding)
        return [self.shrink(finding) for finding in list(kinds.values())[:most]]

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
        return replace(finding, scenario=scenario)
