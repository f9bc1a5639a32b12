"""The rule books as Python sees them: numbers agree with the header, every cell with the core."""

from __future__ import annotations

import itertools

import pytest

import zoned
from zoned import rules
from zoned._core.native import ffi, lib
from zoned.rules import Command, Effect, Next
from zoned.zone import ZoneCondition, ZoneType


def members(prefix: str, enum: str) -> dict[str, int]:
    kind = ffi.typeof(f"enum {enum}")
    return {name.removeprefix(prefix): value for value, name in kind.elements.items()}


def test_numbers_are_those_of_the_header() -> None:
    assert {item.name: item.value for item in Next} == members("ZD_NEXT_", "zd_next")
    assert {item.name: item.value for item in Effect} == members("ZD_FX_", "zd_effect")
    commands = members("ZD_CMD_", "zd_cmd")
    del commands["ZD_NR_CMDS"]
    assert {item.name: item.value for item in Command} == commands
    kinds = members("ZD_F_", "zd_finding_kind")
    assert {item.name: item.value for item in zoned.FindingKind} == kinds


CELLS = """
    zbc      em  WRITE          IMPLICIT_OPEN    OPEN|ACTIVE|ADVANCE
    zbc      cl  WRITE          IMPLICIT_OPEN    OPEN|ADVANCE
    zbc      fu  WRITE          ERROR            zone-full
    zbc      ro  WRITE          ERROR            zone-read-only
    zbc      of  READ           ERROR            zone-offline
    zbc      fu  OPEN           SAME             -
    zns      fu  OPEN           ERROR            invalid-transition
    nullblk  fu  OPEN           ERROR            invalid-transition
    zbc      em  CLOSE          SAME             -
    zns      em  CLOSE          ERROR            invalid-transition
    zns      oe  CLOSE          CLOSED           -
    zbc      oe  CLOSE          CLOSED_OR_EMPTY  -
    zbc      cl  FINISH         FULL             WP_END|DURABLE
    zbc      em  FINISH_ALL     SAME             -
    zbc      fu  RESET          EMPTY            WP_START
    nullblk  cl  OPEN_ALL       ERROR            unsupported-command
    zns      em  SET_EXTENSION  CLOSED           ACTIVE
    zns      cl  SET_EXTENSION  ERROR            invalid-transition
    zbc      em  SET_EXTENSION  ERROR            unsupported-command
    zns      em  OPEN_ZRWA      EXPLICIT_OPEN    OPEN|ACTIVE|DURABLE
    zns      fu  OPEN_ZRWA      ERROR            invalid-transition
    nullblk  em  OPEN_ZRWA      ERROR            unsupported-command
    zns      cl  COMMIT_ZRWA    IMPLICIT_OPEN    OPEN|ADVANCE
    zns      em  COMMIT_ZRWA    ERROR            invalid-commit
"""
"""Dialect, condition, command, what becomes of the zone, and the effects, or by which rule it is refused."""


@pytest.mark.parametrize("told", CELLS.strip().splitlines())
def test_cells(told: str) -> None:
    dialect, condition, command, outcome, last = told.split()
    cell = rules.cell(
        dialect, ZoneType.SEQ_WRITE_REQUIRED, ZoneCondition.parse(condition), Command[command]
    )
    assert cell is not None
    assert cell.next is Next[outcome]
    if cell.next is Next.ERROR:
        assert (cell.effects, cell.error) == (Effect(0), last)
    else:
        wanted = Effect(0)
        for name in last.split("|") if last != "-" else ():
            wanted |= Effect[name]
        assert (cell.effects, cell.error) == (wanted, None)


def test_every_cell_is_sound() -> None:
    names = {rule.name for rule in rules.rules("zbc")}
    found = refused = 0
    for dialect, kind, condition, command in itertools.product(
        ("zbc", "zns", "nullblk"), ZoneType, ZoneCondition, Command
    ):
        cell = rules.cell(dialect, kind, condition, command)
        if cell is None:
            continue
        found += 1
        assert (cell.error is not None) == (cell.next is Next.ERROR)
        if cell.error is not None:
            refused += 1
            assert cell.error in names
            assert cell.effects == Effect(0)
    assert found > 300
    assert refused > 50


def test_what_cannot_occur_has_no_cell() -> None:
    assert rules.cell("zbc", ZoneType.CONVENTIONAL, ZoneCondition.FULL, Command.WRITE) is None
    assert (
        rules.cell("zbc", ZoneType.SEQ_WRITE_REQUIRED, ZoneCondition.NOT_WP, Command.READ) is None
    )
    with pytest.raises(ValueError, match="'sata' is not a valid Dialect"):
        rules.cell("sata", ZoneType.CONVENTIONAL, ZoneCondition.NOT_WP, Command.READ)


def test_rules_in_each_dialect() -> None:
    zbc = {rule.name: rule for rule in rules.rules("zbc")}
    zns = {rule.name: rule for rule in rules.rules("zns")}
    null = rules.rules("nullblk")
    assert zbc["unaligned-write"].sense == (5, 0x21, 4)
    assert zbc["unaligned-write"].nvme_status is None
    assert zbc["unaligned-write"].exception is zoned.UnalignedWriteError
    assert zns["unaligned-write"].nvme_status == 0x1BC
    assert zns["unaligned-write"].sense is None
    assert zns["invalid-transition"].nvme_status == 0x1BF
    assert all((rule.sense, rule.nvme_status) == (None, None) for rule in null)
    assert len(rules.rules("zbc")) == lib.ZD_NR_RULES
    for rule in rules.rules("zbc"):
        assert issubclass(rule.exception, zoned.ZonedError)
