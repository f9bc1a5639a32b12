"""The judge itself, without a kernel: the emulator plays both sides, once with a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import ModuleType

import pytest

from kernel import emulator, generate, handwritten, zonefs_generate
from kernel.differences import Difference, _open_all_walk, diverges
from kernel.guest import describe, payload
from kernel.judge import Judge
from kernel.scenario import MIB, Disk, Record, Scenario, Step

SCSI = Disk("scsi_debug", size=8 * MIB)


class TwoEmulators(Judge):
    """Asks a function for the kernel's side."""

    def __init__(
        self, theirs: Callable[[Scenario], list[Record]], known: Sequence[Difference] = ()
    ) -> None:
        self.doors = {"emulator": emulator.run}
        self.theirs = theirs
        self.known = known
        self.compared = self.skipped = 0
        self.tolerated = {}
        self.tolerated_at = set()

    def ask(self, scenarios: Sequence[Scenario], timeout: float = 0.0) -> list[list[Record]]:
        return [self.theirs(scenario) for scenario in scenarios]


def forgets_closed(scenario: Scenario) -> list[Record]:
    """A disk whose CLOSE of zone 5 fails once zone 4 was written."""
    records = emulator.run(scenario)
    written = False
    for step, record in zip(scenario.steps, records[1:], strict=True):
        written |= step.do == "write" and record["zones"][4] != "em:0"
        if written and step.do == "close" and step.arguments["zone"] == 5:
            record.update(result=None, error="4/44/00")
    return records


def test_equal_sides_have_no_finding() -> None:
    scenarios = list(generate.scenarios(7, 400))
    judge = TwoEmulators(emulator.run)
    assert judge.judge(scenarios) == []
    assert judge.compared == sum(len(scenario.steps) for scenario in scenarios) >= 400


def test_a_fault_is_found_and_shrunk() -> None:
    steps = [Step.write(zone * MIB, 8192) for zone in range(2, 8)]
    steps += [Step.zone_command("open", zone) for zone in range(2, 8)]
    steps += [Step.read(zone * MIB, 4096) for zone in range(8)]
    steps += [Step.zone_command("close", zone) for zone in range(2, 8)]
    judge = TwoEmulators(forgets_closed)
    (finding,) = judge.judge([Scenario("fault", SCSI, tuple(steps))])
    assert str(finding.scenario.steps[finding.at - 1]) == "close zone=5"
    small = judge.shrink(finding)
    assert [str(step) for step in small.scenario.steps] == [
        "write at=4194304 length=8192",
        "close zone=5",
    ]
    text = str(small)
    assert "first difference: after step 2 (close zone=5)" in text
    assert "error: kernel '4/44/00', emulator None" in text
    # What is printed runs again.
    again = Scenario.loads(text.split("as JSON: ")[1])
    assert again == small.scenario
    assert judge.judge([again]) == [small]


def test_a_fresh_disk_of_another_layout_is_a_finding() -> None:
    def other(scenario: Scenario) -> list[Record]:
        return emulator.run(
            dataclasses.replace(scenario, disk=dataclasses.replace(scenario.disk, conventional=3))
        )

    (finding,) = TwoEmulators(other).judge([Scenario("layout", SCSI, ())])
    assert finding.at == 0
    assert "layout[2]: kernel [1, 2097152, 1048576, 1048576]" in str(finding)


@pytest.mark.parametrize("exact", [True, False])
def test_a_known_difference_is_tolerated_exactly(exact: bool) -> None:
    known = Difference(
        name="close-fails",
        kind="scsi_debug",
        cause="made up",
        applies=lambda disk, step, zones: step.do == "close",
        theirs=lambda disk, step, zones, record: (
            record.get("error") == ("4/44/00" if exact else "4/44/01")
        ),
        ours=lambda disk, step, zones, record: record["result"] == 0,
    )
    scenario = Scenario("known", SCSI, (Step.write(4 * MIB, 4096), Step.zone_command("close", 5)))
    judge = TwoEmulators(forgets_closed, [known])
    assert len(judge.judge([scenario])) == (0 if exact else 1)
    assert judge.tolerated == ({"close-fails": 1} if exact else {})


def test_a_known_difference_never_hides_other_zones() -> None:
    """The zones must agree after it, unless it says that it ends the comparison."""
    known = Difference(
        name="close-fails",
        kind="scsi_debug",
        cause="made up",
        applies=lambda disk, step, zones: step.do == "close",
        theirs=lambda disk, step, zones, record: True,
        ours=lambda disk, step, zones, record: True,
    )

    def closes_another(scenario: Scenario) -> list[Record]:
        records = emulator.run(scenario)
        records[-1]["zones"][7] = "oe:0"
        return records

    scenario = Scenario("known", SCSI, (Step.write(4 * MIB, 4096), Step.zone_command("close", 5)))
    assert len(TwoEmulators(closes_another, [known]).judge([scenario])) == 1


def test_open_all_of_scsi_debug_takes_its_own_victim() -> None:
    disk = dataclasses.replace(SCSI, max_open=2)
    zones = ["nw", "nw", "oe:0", "cl:4096", "em:0", "em:0", "oi:512", "fu"]
    assert _open_all_walk(disk, zones) == [*zones[:3], "oe:4096", "em:0", "em:0", "oe:512", "fu"]
    assert diverges(disk, Step.all_command("open"), zones)
    # In front of the closed zone it stays closed.
    zones = ["nw", "nw", "oe:0", "oi:512", "em:0", "em:0", "cl:4096", "fu"]
    assert _open_all_walk(disk, zones) == [*zones[:3], "cl:512", "em:0", "em:0", "oe:4096", "fu"]
    assert not diverges(disk, Step.all_command("open"), zones)


def test_data_in_short() -> None:
    data = bytes(1024) + b"\xff" * 512 + payload(7, 512 * 40, 1024, 512) + payload(7, 0, 512, 512)
    data += b"a" * 511 + b"b"
    assert describe(data, 512) == "zeros*2 ones*1 fill7@40*2 fill7@0*1 other:605821eb*1"
    assert len(payload(1, 0, 700, 512)) == 700


@pytest.mark.parametrize("generator", [generate, zonefs_generate])
def test_same_seed_same_scenarios(generator: ModuleType) -> None:
    one, two, other = (list(generator.scenarios(seed, 300)) for seed in (3, 3, 4))
    assert one == two
    assert one != other
    assert [Scenario.loads(scenario.dumps()) for scenario in one] == one


def test_random_scenarios_go_everywhere() -> None:
    """Every condition comes up, every command succeeds and fails."""
    conditions: set[str] = set()
    outcomes: set[tuple[str, str, bool]] = set()
    for scenario in generate.scenarios(1, 8000):
        kind = scenario.disk.kind
        for step, record in zip(scenario.steps, emulator.run(scenario)[1:], strict=True):
            conditions.update(zone[:2] for zone in record["zones"])
            outcomes.add((kind, step.do, record["result"] is not None))
    assert conditions == {"nw", "em", "oi", "oe", "cl", "fu", "ro", "of"}
    for kind in ("null_blk", "scsi_debug"):
        for do in ("read", "write", "open", "close", "finish", "reset"):
            assert {(kind, do, True), (kind, do, False)} <= outcomes
    for do in ("open_all", "close_all", "finish_all", "reset_all"):
        assert ("scsi_debug", do, True) in outcomes
    assert ("scsi_debug", "open_all", False) in outcomes


def test_scenarios_by_hand_have_names_of_their_own() -> None:
    names = [scenario.name for scenario in handwritten.scenarios()]
    assert len(names) == len(set(names)) >= 100
