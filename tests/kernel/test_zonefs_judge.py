"""What judges zonefs, without a kernel: the scenarios, the list of differences, and our two doors side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import pytest

from kernel import zonefs_generate as generate
from kernel import zonefs_handwritten as handwritten
from kernel.finding import Finding
from kernel.judge import Judge
from kernel.scenario import Record, Scenario, Step
from kernel.zonefs_calls import Calls
from kernel.zonefs_differences import KNOWN, MOUNT, PROCESS
from kernel.zonefs_doors import DOORS, InProcess
from zonefs.mounting import available


class Doors(Judge):
    """Our mount plays the kernel's."""

    def __init__(self, ours: Callable[[Scenario], list[Record]]) -> None:
        self.doors = {PROCESS: ours}
        self.known = ()
        self.compared = self.skipped = 0
        self.tolerated = {}
        self.tolerated_at = set()

    def ask(self, scenarios: Sequence[Scenario], timeout: float = 0.0) -> list[list[Record]]:
        return [DOORS[MOUNT](scenario) for scenario in scenarios]


def _same_at_both_doors(step: Step) -> bool:
    """Without what only FUSE does otherwise."""
    nothing = step.arguments.get("length") == 0
    return not (nothing or step.do in ("statfs", "create"))


@pytest.mark.fuse
def test_our_two_doors_agree(needs: Callable[[str, bool, str], None]) -> None:
    needs("fuse", available() == "", available())
    scenarios = [
        scenario.with_steps(list(filter(_same_at_both_doors, scenario.steps)))
        for scenario in generate.scenarios(11, 1200)
    ]
    judge = Doors(DOORS[PROCESS])
    assert [str(finding) for finding in judge.judge(scenarios)] == []
    assert judge.compared == sum(len(scenario.steps) for scenario in scenarios) >= 1100
    assert judge.skipped < judge.compared / 10


@pytest.mark.fuse
def test_a_broken_door_is_found_and_shrunk(needs: Callable[[str, bool, str], None]) -> None:
    needs("fuse", available() == "", available())

    def forgets_resets(scenario: Scenario) -> list[Record]:
        records = DOORS[PROCESS](scenario)
        for step, before, after in zip(scenario.steps, records, records[1:], strict=False):
            if step.do == "truncate" and step.arguments["size"] == 0:
                after["zones"] = before["zones"]
        return records

    script = handwritten.Script(handwritten.NULL_BLK)
    for path in ("seq/0", "seq/1", "seq/2"):
        script.fill(path, 2)
        script.step("stat", path=path)
    script.truncate("seq/1", 0)
    judge = Doors(forgets_resets)
    (finding,) = judge.judge([script.scenario("forgets")])
    small = judge.shrink(finding)
    assert [step.do for step in small.scenario.steps] == ["open", "pwrite", "truncate"]
    text = str(small)
    assert "zones[3]: kernel em:0, process oi:8192" in text
    again = Scenario.loads(text.split("as JSON: ")[1])
    assert judge.judge([again]) == [small]


def test_random_scenarios_go_everywhere() -> None:
    """Each kind of step succeeds and fails, each errno comes up, each mode is mounted."""
    outcomes: set[tuple[str, bool]] = set()
    errors: set[str | None] = set()
    mounted: set[tuple[str, bool]] = set()
    for scenario in generate.scenarios(1, 12000):
        for step, record in zip(scenario.steps, DOORS[PROCESS](scenario)[1:], strict=True):
            outcomes.add((step.do, record["result"] is not None))
            errors.add(record.get("error"))
            if step.do in ("mount", "remount"):
                explicit = bool(step.arguments.get("explicit_open"))
                mounted.add((step.arguments["errors"], explicit))
    for do in ("open", "pwrite", "write", "writev", "pread", "truncate", "ftruncate", "chmod"):
        assert {(do, True), (do, False)} <= outcomes
    for do in ("close", "fstat", "stat", "readdir", "utime", "umount", "mount", "remount", "lseek"):
        assert (do, True) in outcomes
    for do in ("open", "close", "finish", "reset", "write"):
        assert (f"{do}_zone", True) in outcomes
    assert ("condition", True) in outcomes
    wanted = (
        "EIO EINVAL EFBIG EPERM EROFS EBUSY EBADF ENOENT EEXIST ETOOMANYREFS EOVERFLOW EREMOTEIO"
    )
    assert set(wanted.split()) <= errors
    assert len(mounted) == 2 * len(handwritten.MODES)


def test_scenarios_by_hand_have_names_of_their_own() -> None:
    names = [scenario.name for scenario in handwritten.scenarios()]
    assert len(names) == len(set(names)) >= 250


def test_every_call_is_made_by_some_scenario_by_hand() -> None:
    calls = {name.removeprefix("do_") for name in dir(Calls) if name.startswith("do_")}
    made = {step.do for scenario in handwritten.scenarios() for step in scenario.steps}
    assert calls <= made
    assert {name.removeprefix("do_") for name in dir(InProcess) if name.startswith("do_")} <= made


def test_a_difference_hides_nothing_else() -> None:
    """What is not part of it must agree, and it must be one of that door."""
    known = {entry.name: entry for entry in KNOWN}
    script = handwritten.Script(handwritten.NULL_BLK)
    script.open("a", "seq/0", "O_RDONLY")
    script.step("lseek", fd="a", offset=9, whence="SEEK_SET")
    scenario = script.scenario("lseek")
    state = {
        "zones": ["nw", "em:0"],
        "files": ["0 640 0:0"],
        "free": 1,
        "ro": False,
        "counters": [],
    }
    ours = {"result": 9, **state}
    theirs = {"result": None, "error": "EINVAL", **state}
    entry = known["lseek-past-the-end"]
    finding = Finding(scenario, 2, ours, theirs, state, MOUNT)
    assert entry.explains(finding)
    assert not entry.explains(dataclasses.replace(finding, door=PROCESS))
    assert not entry.explains(dataclasses.replace(finding, at=1))
    assert not entry.explains(dataclasses.replace(finding, theirs=theirs | {"error": "EIO"}))
    for name, other in (("zones", ["nw", "oi:0"]), ("ro", True), ("free", 2)):
        assert not entry.explains(dataclasses.replace(finding, ours=ours | {name: other}))


def test_every_difference_has_its_words() -> None:
    assert len({known.name for known in KNOWN}) == len(KNOWN)
    for known in KNOWN:
        assert known.title
        assert known.cause.endswith(".")
        assert known.doors in ((MOUNT,), (PROCESS,), (MOUNT, PROCESS))
        assert dataclasses.is_dataclass(known)
