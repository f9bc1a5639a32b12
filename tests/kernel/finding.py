"""A record that differs between an emulated disk and the kernel, and what kind of difference it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kernel.scenario import Record, Scenario


@dataclass(frozen=True)
class Finding:
    """A record that differs; of a scenario, the first."""

    scenario: Scenario
    at: int
    """Number of the step, from 1; 0 is the fresh disk."""
    ours: Record
    theirs: Record
    before: Record | None
    door: str = "emulator"
    """Which of our sides."""

    @property
    def kind(self) -> tuple[object, ...]:
        """What kind of difference it is; a smaller scenario should show the same."""
        step = self.scenario.steps[self.at - 1].do if self.at else "fresh"
        return (
            self.door,
            step,
            *(tuple(self._brief(record)) for record in (self.ours, self.theirs)),
        )

    def _brief(self, record: Record) -> Iterator[object]:
        yield record.get("error")
        yield record.get("result") is None
        for name in sorted(set(self.ours) | set(self.theirs)):
            if self.ours.get(name) != self.theirs.get(name):
                yield name

    def __str__(self) -> str:
        scenario = self.scenario
        lines = [f"scenario {scenario.name} on {scenario.disk}"]
        if "mount" in scenario.options:
            lines.append(f"mounted: {scenario.options['mount']}")
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
                            f"  {name}[{zone}]: kernel {its}, {self.door} {mine}, before {old}"
                        )
                continue
            lines.append(f"  {name}: kernel {theirs!r}, {self.door} {ours!r}")
        if self.before is not None:
            lines.append(f"zones before the step: {' '.join(self.before['zones'])}")
        lines.append(f"as JSON: {scenario.with_steps(scenario.steps[: self.at]).dumps()}")
        return "\n".join(lines)


def _brief(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else repr(value)
