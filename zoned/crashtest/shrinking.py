"""Making a failure small: the fewest commands, and the fewest things that survived."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from zoned.crash.choices import Choice
from zoned.crash.survivors import PointStates
from zoned.crashtest.places import Outcome
from zoned.crashtest.running import CrashTest, Verdict

_EARLIER = 64
"""As many survivors of an earlier point are tried."""


@dataclass(frozen=True, slots=True)
class Small:
    """The smallest failure that was found."""

    id: str
    point: int
    outcome: Outcome
    survived: int
    """How many blocks survive of what was not durable."""
    tried: int


def shrink(test: CrashTest, verdict: Verdict, seconds: float = 20.0) -> Small:
    """The smallest failure like this one that can be found in the time. One in a recovery (depth 2)
    stays as it is.
    """
    if "/" in verdict.id:
        return Small(verdict.id, verdict.point, verdict.outcome, 0, 0)
    return _Shrinking(test, verdict, seconds).run()


class _Shrinking:
    def __init__(self, test: CrashTest, verdict: Verdict, seconds: float) -> None:
        self._test, self._verdict = test, verdict
        self._end = time.monotonic() + seconds
        self._tried = 0
        self._asked: dict[tuple[int, Choice], tuple[str, Outcome]] = {}

    def run(self) -> Small:
        states = self._test.states()
        points = states.points.of(self._test.history, states.seed)
        before = max((p for p in points if p < self._verdict.point), default=-1)
        first = self._verdict.point
        choice = self._choice(first)
        for number in range(before + 1, first):  # points that were left out
            found = self._earlier(number)
            if found is not None:
                first, choice = number, found
                break
        with states.at(first) as here:
            choice = self._fewest(here, choice)
            state_id, outcome = self._ask(here, choice)
        return Small(state_id, first, outcome, sum(choice), self._tried)

    def _choice(self, number: int) -> Choice:
        with self._test.states().at(number) as here:
            return here.choice_of(self._verdict.id.partition(":")[2])

    def _late(self) -> bool:
        return time.monotonic() >= self._end

    def _ask(self, here: PointStates, choice: Choice) -> tuple[str, Outcome]:
        key = here.point.number, choice
        if key not in self._asked:
            state = here.make(choice)
            self._tried += 1
            with state.device as device:
                outcome, _ = self._test.look(device, state.id, state.acknowledged)
            self._asked[key] = state.id, outcome
        return self._asked[key]

    def _fails(self, here: PointStates, choice: Choice) -> bool:
        return not self._ask(here, choice)[1].ok

    def _earlier(self, number: int) -> Choice | None:
        with self._test.states().at(number) as here:
            for tried, choice in enumerate(_singles(here.choices)):
                if tried == _EARLIER or self._late():
                    break
                if self._fails(here, choice):
                    return choice
        return None

    def _fewest(self, here: PointStates, choice: Choice) -> Choice:
        """Each thing that survives, as little of it as still fails."""
        for at in range(len(choice)):
            low, high = 0, choice[at]
            while low < high and not self._late():
                middle = (low + high) // 2 if low else 0
                tried = (*choice[:at], middle, *choice[at + 1 :])
                if self._fails(here, tried):
                    high, choice = middle, tried
                else:
                    low = middle + 1
        return choice


def _singles(counts: Choice) -> Iterator[Choice]:
    least = (0,) * len(counts)
    yield least
    yield tuple(count - 1 for count in counts)
    for at, count in enumerate(counts):
        for number in range(1, count):
            yield (*least[:at], number, *least[at + 1 :])
