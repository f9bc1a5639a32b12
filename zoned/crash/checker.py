"""The checker of crash tests: cut the power after every command, and look at every survivor.

Its manual is zoned.testing.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from zoned.crash.choices import CrashIdError, CrashSpaceError, CrashStates, Strategy, strategy_of
from zoned.crash.history import NO_CUT, Cut, Listener, Recorder, Step
from zoned.device import Device, create_from
from zoned.faults import FaultRule
from zoned.geometry import Geometry
from zoned.keywords import GeometryKeywords, resolve_keywords
from zoned.units import counted
from zoned.zone import ZoneCondition

Workload = Callable[[Device, Callable[[Any], None]], object]
Verify = Callable[[Device, list[Any]], object]

__tracebackhide__ = True
"""To pytest: what a test has to show is its own lines and the story, not the frames in between.
``--full-trace`` has them all.
"""

_SHOWN = 30


class WorkloadError(Exception):
    """A workload that is not deterministic: run twice, it did not do the same."""


class CrashFailure(AssertionError):  # noqa: N818 - a test that fails is no error of the program
    """A survivor that verify refused; ``__cause__`` is what it raised, ``replay`` repeats it."""

    def __init__(self, message: str, replay: str) -> None:
        super().__init__(message)
        self.replay = replay

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.replay), self.__dict__


@dataclass(frozen=True, slots=True)
class CrashReport:
    """What check_crashes looked at."""

    commands: int
    cuts: int
    states: int
    seconds: float

    @property
    def states_per_second(self) -> float:
        """Survivors verified per second."""
        return self.states / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{counted(self.states, 'crash state')} of {counted(self.cuts, 'cut')} in "
            f"{counted(self.commands, 'command')} passed: "
            f"{self.seconds:.1f} s, {counted(round(self.states_per_second), 'state')} per second"
        )


@dataclass(slots=True)
class _Job:
    """Everything that one run of the check needs to know."""

    workload: Workload
    verify: Verify
    geometry: Geometry
    strategy: Strategy | str
    limit: int
    seed: int
    every: int
    depth: int
    faults: Sequence[FaultRule]
    show: Callable[[int, int], None] | None = None
    failed: Any = None
    """Of several processes: the earliest cut at which one failed; -1: before the first."""
    states: int = 0
    commands: int = 0
    remark: str = ""
    """About the workload, for the story of a failure."""
    history: Sequence[Step] = ()
    """What the workload did."""

    def compare(self, recorder: Recorder) -> None:
        """Run the workload once more, and see whether it does the same. Raises WorkloadError."""
        device = create_from(None, self.geometry, replace=False, kind=Listener)
        assert isinstance(device, Listener)
        with device:
            device.faults.set_all(self.faults)
            device.start()
            first = [cut.step for cut in recorder.cuts]
            try:
                self.workload(device, device.ack)
            except Exception as error:
                error.add_note(
                    "check_crashes: the workload raised this when it was run a second time, after "
                    f"{counted(len(device.steps) - 1, 'command')}: it is not deterministic"
                )
                raise
        _refuse_difference(first, device.steps)
        for number, (one, two) in enumerate(zip(first, device.steps, strict=True)):
            if one.data != two.data:
                self.remark = (
                    f"The workload is not deterministic: command {number}, {one.command}, wrote "
                    "other data when it was run again, so a repetition may do other things."
                )
                break

    def record(self) -> Recorder:
        """Run the workload once."""
        device = create_from(None, self.geometry, replace=False, kind=Recorder)
        assert isinstance(device, Recorder)
        try:
            device.faults.set_all(self.faults)
            device.start()
            try:
                self.workload(device, device.ack)
            except BaseException as error:
                number = len(device.cuts) - 1
                done = counted(number, "command")
                error.add_note(f"check_crashes: the workload raised this after {done}")
                raise
        except BaseException:
            device.drop()
            device.close()
            raise
        self.commands = len(device.cuts) - 1
        return device

    def space(self, cut: Cut) -> CrashStates:
        return CrashStates(
            cut.snapshot, self.strategy, limit=self.limit, seed=self.seed, kind=Recorder
        )

    def numbers(self, count: int) -> list[int]:
        """Which cuts: all, or as many as asked for, drawn from the seed; the last always."""
        if self.every == 0 or self.every >= count:
            return list(range(count))
        draw = random.Random(self.seed)  # noqa: S311 - to be repeated, not to be secret
        return sorted({count - 1, *draw.sample(range(count), self.every)})

    def check(self, recorder: Recorder, part: int = 0, parts: int = 1) -> int:
        """All survivors of this part of the cuts; how many cuts."""
        chosen = self.numbers(len(recorder.cuts))
        for done, number in enumerate(chosen):
            if done % parts != part:
                continue
            if self.failed is not None and number > self.failed.value:
                break  # what it may find is not the shortest history
            self._check_cut(recorder, number, "", recorder.acknowledged, self.depth)
            if self.show is not None:
                self.show(done + 1, len(chosen))
        return len(chosen[part::parts])

    def _check_cut(
        self,
        recorder: Recorder,
        number: int,
        path: str,
        acknowledged: Callable[[Cut], list[Any]],
        depth: int,
        before: Sequence[str] = (),
    ) -> None:
        cut = recorder.cuts[number]
        told = acknowledged(cut)
        try:
            space = self.space(cut)
        except CrashSpaceError as error:
            behind = f"behind command {number}, {cut.command}" if number else "before all commands"
            error.add_note(f"check_crashes: at the cut {behind}")
            raise
        try:
            for choice in space.choices():
                self.states += 1
                with space.build(choice) as device:
                    replay = f"{path}{number}:{space.id_of(choice)}"
                    self._verify(recorder, number, device, told, replay, depth, before)
        finally:
            space.close()

    def _verify(
        self,
        recorder: Recorder,
        number: int,
        device: Device,
        told: list[Any],
        replay: str,
        depth: int,
        before: Sequence[str],
    ) -> None:
        """``before``: what led to the cut before this one, where this is one in a recovery."""
        assert isinstance(device, Recorder)
        after = zone_lines(device)
        if depth > 1:
            device.start()
        try:
            try:
                self.verify(device, list(told))
            except BaseException as error:
                if not refuses(error):
                    raise
                text = _story(recorder, number, before, after, told, replay, error)
                text += f"\n{self.remark}" if self.remark else ""
                raise CrashFailure(text, replay) from error
            if depth > 1:
                history = [*before, *_history(recorder, number, told, again=bool(before))]
                for again in range(1, len(device.cuts)):
                    self._check_cut(device, again, f"{replay}/", lambda _: told, depth - 1, history)
        finally:
            device.drop()

    def replay(self, recorder: Recorder, path: str) -> None:
        """Verify exactly one survivor."""
        told: list[Any] | None = None
        before: list[str] = []
        here, opened = recorder, contextlib.ExitStack()
        with opened:
            steps = path.split("/")
            for at, step in enumerate(steps):
                text, _, crash_id = step.partition(":")
                if not text.isdecimal() or int(text) >= len(here.cuts):
                    raise CrashIdError(f"replay {path!r}: there is no cut {text!r} in this history")
                cut = here.cuts[int(text)]
                if told is None:
                    told = recorder.acknowledged(cut)
                space = self.space(cut)
                opened.callback(space.close)
                device = opened.enter_context(space.rebuild(crash_id))
                assert isinstance(device, Recorder)
                opened.callback(device.drop)
                self.states += 1
                last = at == len(steps) - 1
                done = "/".join(steps[: at + 1])
                if last:
                    self._verify(here, int(text), device, told, done, 1, before)
                else:
                    before += _history(here, int(text), told, again=at > 0)
                    device.start()
                    self.verify(device, list(told))
                    here = device


def check_crashes(
    workload: Workload,
    verify: Verify,
    *,
    profile: str | None = None,
    strategy: Strategy | str = Strategy.LINEAR,
    limit: int = 10_000,
    seed: int = 0,
    cuts: int = 0,
    depth: int = 1,
    faults: Sequence[FaultRule] = (),
    jobs: int = 1,
    replay: str | None = None,
    progress: bool | None = None,
    **keywords: Any,
) -> CrashReport:
    """Run ``workload(device, ack)`` on a disk in RAM, cut the power after each of its commands, and
    call ``verify(device, acknowledged)`` with every survivor.

    ``profile`` and keywords are those of zoned.memory. ``strategy``, ``limit`` (per cut) and
    ``seed`` choose the survivors (zoned.crash.choices). ``cuts``: as many cuts, drawn from the
    seed, 0: all. ``depth`` 2: also cut the power during verify, which then must do all of its
    recovery, and verify again. ``faults`` are set on the workload's disk. ``jobs``: processes; each
    runs the workload. ``replay``: only the survivor that a failure named. ``progress``: a line on
    stderr; None: if that is a terminal.

    Raises CrashFailure for the first survivor that verify refuses (by raising anything but
    KeyboardInterrupt and the like), WorkloadError for a workload that gives other commands, or
    acknowledges other numbers of things, when it is run a second time (other data is told with a
    failure only), CrashSpaceError where a cut has more survivors than ``limit``, CrashIdError for a
    replay of another history, and what the workload raises.
    """
    _check_arguments(workload, verify, faults, replay)
    for name, value, least in (
        *(("depth", depth, 1), ("jobs", jobs, 1), ("cuts", cuts, 0)),
        *(("limit", limit, 1), ("seed", seed, None)),
    ):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}: it must be a whole number")
        if least is not None and value < least:
            raise ValueError(f"{name} is {value}: it must be {least} or more")
    strategy = strategy_of(strategy)
    geometry = resolve_keywords(profile, cast("GeometryKeywords", keywords))
    job = _Job(workload, verify, geometry, strategy, limit, seed, cuts, depth, tuple(faults))
    begin = time.monotonic()
    if replay is not None:
        recorder = job.record()
        try:
            job.replay(recorder, replay)
        finally:
            recorder.drop()
            recorder.close()
        return CrashReport(job.commands, 1, job.states, time.monotonic() - begin)
    loud = sys.stderr.isatty() if progress is None else progress
    if loud:
        job.show = _show
    number = _parallel(job, jobs) if jobs > 1 else _alone(job, 0, 1)
    report = CrashReport(job.commands, number, job.states, time.monotonic() - begin)
    if loud:
        sys.stderr.write(f"\r{report}\n")
    return report


def _check_arguments(workload: object, verify: object, faults: object, replay: object) -> None:
    """Raises TypeError, before anything has run."""
    for name, function in (("workload", workload), ("verify", verify)):
        if not callable(function):
            raise TypeError(f"{name} is {function!r}: it must be a function")
    rules = faults if isinstance(faults, list | tuple) else [faults]
    for rule in rules:
        if rules is not faults or not isinstance(rule, FaultRule):
            kind = type(rule).__name__
            raise TypeError(f"faults must be a list of FaultRule, and not hold or be a {kind}")
    if replay is not None and not isinstance(replay, str):
        raise TypeError(f"replay is {replay!r}: it must be the text that a failure printed")


def _alone(job: _Job, part: int, parts: int) -> int:
    recorder = job.record()
    try:
        if part == 0:
            job.compare(recorder)
        job.history = [cut.step for cut in recorder.cuts]
        return job.check(recorder, part, parts)
    finally:
        recorder.drop()
        recorder.close()


def _parallel(job: _Job, jobs: int) -> int:
    """Each process runs the workload and takes every jobs-th cut. The earliest failure is told."""
    context = multiprocessing.get_context("fork")
    job.failed = context.Value("q", NO_CUT)
    running: list[tuple[Any, Any]] = []
    failures: list[tuple[int, BaseException]] = []
    histories: list[Sequence[Step]] = []
    number = 0
    # A Ctrl-C waits till every process is known, so that none is left behind.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for part in range(jobs):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, part, jobs, there, mask))
            process.start()
            there.close()
            running.append((process, here))
            job.show = None  # the first one tells for all
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for process, here in running:
            try:
                done, states, job.commands, history, failure = here.recv()
            except EOFError:
                process.join()
                raise RuntimeError(
                    f"a process of check_crashes ended with status {process.exitcode}, in the "
                    "middle of the workload or of verify"
                ) from None
            number += done
            job.states += states
            failures += [failure] if failure is not None else []
            histories += [history] if history else []
    finally:
        for process, here in running:
            process.terminate()  # has ended, but for an error or Ctrl-C
            process.join()
            here.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for history in histories[1:]:  # cuts with one number are one cut only where these are equal
        _refuse_difference(histories[0], history)
    if failures:
        raise min(failures, key=lambda item: item[0])[1]
    return number


def _work(job: _Job, part: int, parts: int, there: Any, mask: set[Any]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    done = 0
    failure: tuple[int, BaseException] | None = None
    try:
        done = _alone(job, part, parts)
    except BaseException as error:  # noqa: BLE001 - told by the process that asked
        number, shown = -1, error
        if isinstance(error, CrashFailure) and error.__cause__ is not None:
            number, shown = int(error.replay.partition(":")[0]), error.__cause__
        story = traceback.format_exception(type(shown), shown, _outside(shown.__traceback__))
        failure = number, _portable(error, "".join(story))
        with job.failed.get_lock():
            job.failed.value = min(job.failed.value, number)
    there.send((done, job.states, job.commands, job.history, failure))
    there.close()


def _outside(frames: TracebackType | None) -> TracebackType | None:
    """A traceback from the workload or from verify on; all of it where it does not come so far."""
    own = frames
    while own is not None and own.tb_frame.f_globals is globals():
        own = own.tb_next
    return own or frames


def _refuse_difference(first: Sequence[Step], second: Sequence[Step]) -> None:
    """Raises WorkloadError, which names the first command that was not the same in two runs."""
    for number in range(max(len(first), len(second))):
        one, two = (steps[number] if number < len(steps) else None for steps in (first, second))
        if one is not None and two is not None and one[:2] == two[:2]:
            continue
        if one is not None and two is not None and one.command == two.command:
            behind = f"behind command {number}, {one.command}," if number else "before any command"
            what = f"{behind} other numbers of things were acknowledged"
            told = [counted(step.acknowledged, "thing") for step in (one, two)]
        else:
            what = f"command {number} was not the same"
            told = ["none any more" if step is None else step.command for step in (one, two)]
        raise WorkloadError(
            f"the workload is not deterministic: of two runs on equal disks, {what}\n"
            f"  first run:  {told[0]}\n  second run: {told[1]}\n"
            "It must give the same commands each time: seed what it draws, and let no state of one "
            "run, no clock and no order of a set lead the next."
        )


def _portable(error: BaseException, story: str) -> BaseException:
    """The exception as another process can have it, with where it came from."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here; many can be written, not read
    except Exception:  # noqa: BLE001 - whatever its own methods raise
        error = RuntimeError(f"{type(error).__qualname__}: {error}")
    if not isinstance(error, CrashSpaceError | WorkloadError):  # which say all by themselves
        error.add_note(story)
    return error


def _show(done: int, count: int) -> None:
    width = 30 * done // count
    sys.stderr.write(
        f"\rcrashes: [{'#' * width}{'.' * (30 - width)}] {done}/{counted(count, 'cut')}"
    )
    sys.stderr.flush()


def zone_lines(device: Device) -> str:
    """The zones that are not empty, a line each, with those pointers that are valid."""
    lines = []
    for zone in device.zones:
        if zone.condition in (ZoneCondition.EMPTY, ZoneCondition.NOT_WP):
            continue
        pointers = (("wp", zone.wp), ("durable", zone.durable_wp))
        told = [f", {name} +{at - zone.start}" for name, at in pointers if at is not None]
        lines.append(f"  zone {zone.index}: {zone.condition.name}{''.join(told)}")
    return "\n".join(lines) or "  all zones are empty"


def refuses(error: BaseException) -> bool:
    """Whether what verify raised says that a survivor is bad; else it wants to end or skip."""
    if isinstance(error, Exception | SystemExit):
        return True
    # pytest's fail() and raises() raise a BaseException.
    pytest = sys.modules.get("pytest")
    if pytest is None:
        return False
    return isinstance(error, pytest.fail.Exception) and not isinstance(
        error, pytest.xfail.Exception
    )


def _history(recorder: Recorder, number: int, told: list[Any], again: bool) -> list[str]:
    """What led to a cut, a line each; ``again``: in a recovery."""
    commands = [cut.command for cut in recorder.cuts[1 : number + 1]]
    left_out = max(0, len(commands) - _SHOWN)
    lines = [f"  {at + 1}. {text}" for at, text in enumerate(commands)][left_out:]
    if left_out:
        lines.insert(0, f"  ... {counted(left_out, 'command')} before")
    count = counted(len(commands), "command")
    head = (
        f"Then verify was cut after {count} of its own:"
        if again
        else f"The power was cut after {count}, {counted(len(told), 'thing')} acknowledged:"
    )
    return [head, *(lines or ["  (none)"])]


def _story(
    recorder: Recorder,
    number: int,
    earlier: Sequence[str],
    after: str,
    told: list[Any],
    replay: str,
    error: BaseException,
) -> str:
    with recorder.cuts[number].snapshot.fork() as before:
        zones = zone_lines(before)
    return "\n".join(
        [
            f"verify refused a survivor: {type(error).__name__}: {error}",
            *earlier,
            *_history(recorder, number, told, again=bool(earlier)),
            "Zones before the cut:",
            zones,
            "Zones after it:",
            after,
            f"To repeat it: check_crashes(..., replay={replay!r})",
        ]
    )
