"""The crash test itself: a workload recorded once, and a verifier run on what may survive it.

All that it knows lies in a folder: the history, the settings and a line for each verdict. So a test
that was ended goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from zoned.archive import copy
from zoned.crash.choices import CrashIdError, Strategy
from zoned.crash.recorded import History
from zoned.crash.survivors import Points, State, States
from zoned.crashtest import marks, places
from zoned.crashtest.children import CrashTestError, Keepers
from zoned.crashtest.places import Door, Outcome, Stop
from zoned.crashtest.scratch import alone, scratch
from zoned.device import Device, create
from zoned.device import open as open_disk
from zoned.inputs import InputError, parse_json
from zoned.units import counted

_VERSION = 2
_LAST_WORDS = 500
_OF_CONTENT = 2000
"""Characters that are kept of what a verifier says that is content: there may be many."""
_HOST = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES)
"""Errors that say nothing of the disk."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a crash test does. Commands are lists of words; ``{disk}`` in them is the disk."""

    verify: Sequence[str]
    door: Door = Door.IMAGE
    strategy: Strategy = Strategy.LINEAR
    points: str = "all"
    limit: int = 10_000
    seed: int = 0
    jobs: int = 1
    depth: int = 1
    timeout: float = 60.0
    """Seconds that each run of the verifier may take, and ten times as many the workload."""
    every: bool = False
    """Go on behind the first failure."""

    def __post_init__(self) -> None:
        Points(self.points)
        if not self.verify:
            raise ValueError("there is no verifier")
        for name, value, most in (("jobs", self.jobs, 1024), ("depth", self.depth, 2)):
            if not 1 <= value <= most:
                raise ValueError(f"{name} is {value}: it must be 1 to {most}")
        if self.limit < 1:
            raise ValueError(f"limit is {self.limit}: it must be 1 or more")
        if not 0 < self.timeout <= 86_400:
            raise ValueError(f"timeout is {self.timeout}: it must be a number of seconds above 0")

    def meaning(self) -> dict[str, Any]:
        """What decides the verdicts, as JSON has it."""
        wanted = ("verify", "door", "strategy", "points", "limit", "seed", "depth", "timeout")
        found = {name: getattr(self, name) for name in wanted}
        return {**found, "verify": list(self.verify), "version": _VERSION}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the verifier said of one disk."""

    id: str
    point: int
    acknowledged: int
    kept: bool
    """Nothing was lost."""
    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether it was content."""
        return self.outcome.ok


@dataclass(slots=True)
class Result:
    """What a crash test found."""

    changes: int = 0
    marks: int = 0
    states: int = 0
    """Disks that the verifier looked at, those of an earlier run included."""
    equal: int = 0
    """More choices, that left a disk as one of these."""
    differing: int = 0
    """Disks that had lost something."""
    resumed: int = 0
    failures: list[Verdict] = field(default_factory=list)
    points: dict[int, tuple[int, int]] = field(default_factory=dict)
    """For each point: disks, failures."""
    blind: str = ""
    """Why the verifier tells nothing, in a sentence; "" if it does."""
    cut: str | None = None
    """Why the history ends early."""
    seconds: float = 0.0
    complete: bool = False
    """All that the strategy asks for was looked at."""

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and that means something."""
        return not self.failures and not self.blind


class CrashTest:
    """One crash test, in a folder of its own. Use it as a context manager."""

    def __init__(self, settings: Settings, folder: str | os.PathLike[str]) -> None:
        self.settings = settings
        self.folder = Path(folder)
        self._room = contextlib.ExitStack()
        self._history: History | None = None
        self._scratch = ""
        self._stop = Stop()
        self._keepers = Keepers()

    def __enter__(self) -> Self:
        self._room.callback(self._stop.close)
        self._scratch = self._room.enter_context(scratch())
        self._room.enter_context(self._keepers)
        return self

    def __exit__(self, *raised: object) -> None:
        self._room.close()

    # ------------------------------------------------------------ the workload

    @property
    def history(self) -> History:
        """Of the workload. Raises CrashTestError, TraceError, OSError."""
        if self._history is None:
            path = self.folder / "history"
            if not path.exists():
                raise CrashTestError(f"{self.folder} holds no history: give --workload first")
            self._history = self._room.enter_context(History(path))
        return self._history

    def record(
        self, workload: Sequence[str], *, image: str | None = None, fresh: str | None = None
    ) -> Outcome:
        """Run the workload on a copy of an image, or on a new disk by a profile, and keep its
        history. Raises CrashTestError where it fails, OSError.
        """
        if not workload:
            raise CrashTestError("there is no workload")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            part = self.folder / "history.part"
            try:
                outcome = self._recorded(workload, part, image, fresh)
                for name in ("settings.json", "verdicts"):
                    (self.folder / name).unlink(missing_ok=True)
                part.replace(self.folder / "history")
            finally:
                part.unlink(missing_ok=True)
        return outcome

    def _recorded(
        self, workload: Sequence[str], part: Path, image: str | None, fresh: str | None
    ) -> Outcome:
        disk = os.path.join(self._scratch, "workload.img")
        timeout = 10 * self.settings.timeout
        with (
            self._first(disk, image, fresh) as device,
            device.trace.record(part, data=True),
            marks.Marks(device, self._scratch) as ears,
            places.placed(self.settings.door, disk, self._scratch) as place,
        ):
            more = {marks.VARIABLE: ears.path}
            outcome = places.run(self._keepers, place, workload, more, timeout, ears.line)
        os.unlink(disk)
        (self.folder / "workload.log").write_text(outcome.output, "utf-8", "backslashreplace")
        if not outcome.ok:
            said = outcome.output.strip().splitlines()
            last = f": {said[-1][:_LAST_WORDS]}" if said else ""
            raise CrashTestError(
                f"the workload {outcome.told}{last} ({self.folder / 'workload.log'} has all)"
            )
        if ears.refused:
            raise CrashTestError(f"the workload set a mark in vain: {ears.refused}")
        return outcome

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(alone(self.folder))
            except FileNotFoundError:
                raise CrashTestError(
                    f"{self.folder} holds no history: give --workload first"
                ) from None
            except BlockingIOError:
                raise CrashTestError(
                    f"{self.folder}: another crash test is at work there; --state names a folder of"
                    " your own"
                ) from None
            yield

    def _first(self, disk: str, image: str | None, fresh: str | None) -> Device:
        if image is not None:
            with open_disk(image, readonly=True, pace="none") as given:
                return copy(given, disk)
        device = create(disk, profile=fresh, host_sync="never")
        if self.settings.door is Door.MOUNT:
            import zonefs

            zonefs.mkfs(device)
        return device

    # ------------------------------------------------------------ the survivors

    def states(self) -> States:
        """What the settings ask for."""
        chosen = self.settings
        return States(
            self.history,
            chosen.strategy,
            points=chosen.points,
            limit=chosen.limit,
            seed=chosen.seed,
        )

    def run(self, progress: Callable[[Result], object] | None = None) -> Result:
        """Try all survivors, up to the first failure, or all. Raises CrashTestError,
        CrashSpaceError, HistoryError, OSError.
        """
        begin = time.monotonic()
        history = self.history
        result = Result(changes=len(history), marks=len(history.marks), cut=history.cut)
        with self._alone():
            known = self._known()
            with self._verdicts() as note:
                lossy = self._all(result, known, note, progress)
        result.seconds = time.monotonic() - begin
        if not result.failures and result.complete:
            result.blind = self._why_blind(lossy)
        return result

    def _all(
        self,
        result: Result,
        known: dict[str, Verdict],
        note: Callable[[Verdict], None],
        progress: Callable[[Result], object] | None,
    ) -> int:
        """How many survivors had lost something, equal ones included."""
        states = self.states()
        running: set[Future[Verdict]] = set()

        def take(verdict: Verdict) -> None:
            count, failed = result.points.get(verdict.point, (0, 0))
            result.points[verdict.point] = (count + 1, failed + (not verdict.ok))
            result.states += 1
            result.differing += not verdict.kept
            result.equal = states.equal
            if not verdict.ok:
                result.failures.append(verdict)
            if progress is not None:
                progress(result)

        def settle(least: int) -> None:
            while len(running) > least:
                done, rest = wait(running, return_when="FIRST_COMPLETED")
                running.clear()
                running.update(rest)
                for one in done:
                    verdict = one.result()
                    note(verdict)
                    take(verdict)

        with ThreadPoolExecutor(self.settings.jobs) as pool, self._ending(running):
            for state in states.each():
                found = known.get(state.id)
                if found is not None:
                    state.device.close()
                    result.resumed += 1
                    take(found)
                else:
                    running.add(pool.submit(self._judge, state))
                    settle(2 * self.settings.jobs - 1)
                if result.failures and not self.settings.every:
                    break
            else:
                result.complete = True
            settle(0)
        result.complete = result.complete or self.settings.every
        result.equal = states.equal
        result.failures.sort(key=lambda verdict: verdict.point)
        return states.lossy

    @contextlib.contextmanager
    def _ending(self, running: set[Future[Verdict]]) -> Iterator[None]:
        """Nobody waits for verifiers whose word counts no more."""
        try:
            yield
        except BaseException:
            self._stop.set()
            raise
        finally:
            wait(running)

    def _judge(self, state: State) -> Verdict:
        with state.device as device:
            self._stop.check()
            outcome, worst = self.look(device, state.id, state.acknowledged, self.settings.depth)
        if outcome.ok and len(outcome.output) > _OF_CONTENT:
            outcome = dataclasses.replace(outcome, output=outcome.output[-_OF_CONTENT:])
        return Verdict(worst, state.point, len(state.acknowledged), state.kept, outcome)

    def look(
        self, device: Device, state_id: str, told: Sequence[str], depth: int = 1
    ) -> tuple[Outcome, str]:
        """Let the verifier look at a disk, and with depth 2 at every disk that a power cut during
        that could leave. Its outcome, or that of the first that failed, and the id of that one.
        """
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            image = os.path.join(folder, "disk.img")
            with copy(device, image) as disk:
                if depth == 1:
                    return self._verify(image, folder, state_id, told), state_id
                path = os.path.join(folder, "history")
                with disk.trace.record(path, data=True):
                    outcome = self._verify(image, folder, state_id, told)
            os.unlink(image)
            if not outcome.ok:
                return outcome, state_id
            chosen = self.settings
            with History(path) as history:
                states = States(history, chosen.strategy, limit=chosen.limit, seed=chosen.seed)
                for state in states:
                    path_id = f"{state_id}/{state.id}"
                    again, worst = self.look(state.device, path_id, told)
                    if not again.ok:
                        return again, worst
            return outcome, state_id

    def _verify(self, image: str, folder: str, state_id: str, told: Sequence[str]) -> Outcome:
        file = os.path.join(folder, "acknowledged.json")
        document = {"id": state_id, "acknowledged": list(told)}
        Path(file).write_text(json.dumps(document), encoding="utf-8", errors="surrogateescape")
        more = {
            "ZONED_ACKNOWLEDGED": file,
            "ZONED_MARKS": str(len(told)),
            "ZONED_LAST_MARK": told[-1] if told else "",
            "ZONED_CRASH_ID": state_id,
        }
        try:
            with places.placed(self.settings.door, image, self._scratch) as place:
                timeout = self.settings.timeout
                verify = self.settings.verify
                return places.run(self._keepers, place, verify, more, timeout, stop=self._stop)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            if self.settings.door is not Door.MOUNT or error.errno in _HOST:
                raise
            return Outcome(1, f"the zonefs could not be mounted: {error}", 0.0)

    def rebuild(self, path: str) -> tuple[Device, State]:
        """The disk with an id, as the verifier would find it, and the state of the workload's
        history that it comes from; the devices are the caller's to close. Raises CrashIdError.
        """
        first, slash, rest = path.partition("/")
        state = States(self.history, seed=self.settings.seed).rebuild(first)
        if not slash:
            return state.device, state
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder, state.device as device:
            image = os.path.join(folder, "disk.img")
            inner = os.path.join(folder, "history")
            with copy(device, image) as disk, disk.trace.record(inner, data=True):
                self._verify(image, folder, first, state.acknowledged)
            with History(inner) as history:
                try:
                    second = States(history).rebuild(rest)
                except CrashIdError as error:
                    raise CrashIdError(
                        f"the verifier did other things than when {path} was found: {error}"
                    ) from error
                return second.device, state

    # ------------------------------------------------------------ whether it says anything

    def _why_blind(self, lossy: int) -> str:
        """A verifier that never fails is told apart from one that has nothing to complain of."""
        history = self.history
        if not lossy:
            return (
                "no survivor differs from the acknowledged state: the power took nothing, so this "
                "test says nothing"
            )
        if not history.marks:
            return ""
        told = history.acknowledged(len(history))
        with history.disk(0) as device:
            outcome, _ = self.look(device, "control", told)
        if outcome.ok:
            return (
                "the verifier passes on the disk as it was before the workload too, where nothing "
                f"of {counted(len(told), 'acknowledged thing')} can be: it does not look"
            )
        return ""

    # ------------------------------------------------------------ what is known already

    def _known(self) -> dict[str, Verdict]:
        """Verdicts of an earlier run with the same settings. Raises CrashTestError for others."""
        file = self.folder / "settings.json"
        with (self.folder / "history").open("rb") as history:
            digest = hashlib.file_digest(history, "blake2b").hexdigest()[:32]
        now = json.loads(json.dumps({**self.settings.meaning(), "history": digest}))
        try:
            before = parse_json(file.read_bytes(), InputError, str(file))
        except FileNotFoundError:
            text = json.dumps(now, indent=1) + "\n"
            (self.folder / "verdicts").unlink(missing_ok=True)
            file.write_text(text, encoding="utf-8")
            return {}
        if before != now:
            was = before if isinstance(before, dict) else {}
            keys = [key for key in now if was.get(key) != now[key]]
            raise CrashTestError(
                f"{self.folder} was begun with another {' and '.join(keys)}: give the same, or "
                "another folder"
            )
        return dict(self._lines())

    def _lines(self) -> Iterator[tuple[str, Verdict]]:
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / "verdicts").read_bytes().split(b"\n"):
                try:
                    raw = json.loads(line)
                    verdict = Verdict(**{**raw, "outcome": Outcome(**raw["outcome"])})
                except (ValueError, TypeError, KeyError):
                    continue  # the last one, cut off when the test was killed
                yield verdict.id.partition("/")[0], verdict

    @contextlib.contextmanager
    def _verdicts(self) -> Iterator[Callable[[Verdict], None]]:
        with (self.folder / "verdicts").open("a", encoding="utf-8") as file:

            def note(verdict: Verdict) -> None:
                file.write(json.dumps(dataclasses.asdict(verdict)) + "\n")
                file.flush()

            yield note
