"""Whatever a fault rule can be is in the manual, an option of the command line, and comes back as it was set."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import zoned
from zoned.cli.faults import add_command
from zoned.faults import FaultKind, FaultRule, Keep

ROOT = Path(__file__).parents[2]
OWN: dict[str, object] = {
    "blocks": 2,
    "bit": 5,
    "after": True,
    "latency": 0.5,
    "virtual_latency": 0.25,
    "timeout": 2.0,
    "active": True,
    "keep": Keep.RANDOM,
}
"""Keywords of single kinds, with a value that is not the default."""
EVERYBODY = {
    "on": "write",
    "zones": "3-5",
    "range": (4 << 20, 5 << 20),
    "nth": 3,
    "times": 1,
    "order": 7,
    "seed": 9,
    "label": "of everybody",
}


def manual() -> dict[str, set[str]]:
    """The table of the manual: each kind's own keywords."""
    text = (ROOT / "docs/back-tests.md").read_text(encoding="utf-8")
    table = text.split("| kind | what happens |")[1].split("\n\n")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    return {
        kind: set(re.findall(r"`(\w+)`", row[3]))
        for row in rows
        for kind in re.findall(r"`([\w-]+)`", row[1])
    }


def test_every_kind_has_its_row() -> None:
    assert set(manual()) == {str(kind) for kind in FaultKind}


def test_every_kind_is_in_the_help() -> None:
    assert add_command.help
    listed = re.findall(r"[\w-]+", add_command.help.partition("Kinds:")[2])
    assert listed == [str(kind) for kind in FaultKind]


def test_every_keyword_is_an_option() -> None:
    options = {option.name for option in add_command.params}
    for field in fields(FaultRule):
        assert {"range": "span"}.get(field.name, field.name) in options, field.name


def test_every_keyword_is_of_everybody_or_of_some() -> None:
    others = {
        "kind",
        "block",
        "every",
        "probability",
        "once",
    }  # other words for those that are there
    assert {field.name for field in fields(FaultRule)} == others | set(OWN) | set(EVERYBODY)
    assert set().union(*manual().values()) == set(OWN)


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_rule_comes_back_as_it_was_set(kind: FaultKind) -> None:
    given = EVERYBODY | {name: OWN[name] for name in manual()[kind]}
    given["on"] = "read" if kind is FaultKind.FLIP_READ else "write"
    rule = FaultRule(kind, **given)  # type: ignore[arg-type]
    with zoned.memory(size="16MiB", zone_size="1MiB") as dev:
        dev.faults.set(rule)
        assert [fault.rule for fault in dev.faults] == [rule]
        for name in set(OWN) - manual()[kind]:
            with pytest.raises(zoned.FaultError):
                dev.faults.add(kind, **{name: OWN[name]})
