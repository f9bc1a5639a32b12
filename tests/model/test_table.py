"""Every cell of the state table on a real device, and on the reference model.

dialect x zone type x condition x command: a zone is brought into the condition, the command is given,
and the condition, the write pointer, the durable pointer and the error must be those of the cell. Then
the same on the model. The resources that a cell says it takes are tried with none left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

import zoned
from model import reference as ref
from zoned import ZoneCondition, ZoneType
from zoned.rules import Cell, Command, Effect, Next, cell

BLOCK = 4096
ZONE_BLOCKS, CAPACITY_BLOCKS = 8, 6
ZONES, TARGET, OTHER, SPARE = 6, 2, 4, 5
START = TARGET * ZONE_BLOCKS * BLOCK
DATA = b"\x5a" * BLOCK
EXTENSION = bytes(range(64))
AREA = 2 * BLOCK

TYPES = {
    "zbc": (ZoneType.CONVENTIONAL, ZoneType.SEQ_WRITE_REQUIRED, ZoneType.SEQ_WRITE_PREFERRED),
    "zns": (ZoneType.CONVENTIONAL, ZoneType.SEQ_WRITE_REQUIRED),
    "nullblk": (ZoneType.CONVENTIONAL, ZoneType.SEQ_WRITE_REQUIRED),
}
CONVENTIONAL_CONDITIONS = (
    ZoneCondition.NOT_WP,
    ZoneCondition.READ_ONLY,
    ZoneCondition.OFFLINE,
)
SEQUENTIAL_CONDITIONS = tuple(c for c in ZoneCondition if c is not ZoneCondition.NOT_WP)
COMMANDS = tuple(c for c in Command if c is not Command.FLUSH)
ALL_FORMS = (Command.OPEN_ALL, Command.CLOSE_ALL, Command.FINISH_ALL, Command.RESET_ALL)
SETTERS = {
    Command.SET_EMPTY: ZoneCondition.EMPTY,
    Command.SET_READ_ONLY: ZoneCondition.READ_ONLY,
    Command.SET_OFFLINE: ZoneCondition.OFFLINE,
}


@dataclass(frozen=True)
class Case:
    """One way into a cell: several conditions can be reached with nothing written, or by FINISH."""

    dialect: str
    kind: ZoneType
    condition: ZoneCondition
    command: Command
    way: str

    def __str__(self) -> str:
        condition, command = self.condition.name.lower(), self.command.name.lower()
        return f"{self.dialect}-{self.kind.short}-{condition}-{command}-{self.way}"


def ways(dialect: str, kind: ZoneType, condition: ZoneCondition) -> tuple[str, ...]:
    if kind is ZoneType.CONVENTIONAL or condition is ZoneCondition.EMPTY:
        return ("plain",)
    area = ("area",) if dialect == "zns" else ()
    if condition is ZoneCondition.EXPLICIT_OPEN:
        return ("written", "bare", *area)
    if condition is ZoneCondition.CLOSED:  # only ZNS closes an empty zone to CLOSED
        return ("written", "bare", "extended", *area) if dialect == "zns" else ("written",)
    if condition is ZoneCondition.FULL:
        return ("filled", "finished")
    if condition in (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE):
        return ("written", "bare", "filled")
    return ("written", *area)


def cases() -> Iterator[Case]:
    for dialect, kinds in TYPES.items():
        for kind in kinds:
            conventional = kind is ZoneType.CONVENTIONAL
            for condition in CONVENTIONAL_CONDITIONS if conventional else SEQUENTIAL_CONDITIONS:
                for command in COMMANDS:
                    for way in ways(dialect, kind, condition):
                        yield Case(dialect, kind, condition, command, way)


CASES = list(cases())


def config(case: Case, **more: object) -> ref.Config:
    conventional = (0, TARGET) if case.kind is ZoneType.CONVENTIONAL else (0,)
    swp = case.kind is ZoneType.SEQ_WRITE_PREFERRED
    return ref.Config(
        **{
            "size": ZONES * ZONE_BLOCKS * BLOCK,
            "zone_size": ZONE_BLOCKS * BLOCK,
            "zone_capacity": CAPACITY_BLOCKS * BLOCK,
            "conventional": conventional,
            "dialect": case.dialect,
            "zone_extension": len(EXTENSION) if case.dialect == "zns" else 0,
            "zrwa_size": AREA if case.dialect == "zns" else 0,
            "zrwa_granularity": BLOCK if case.dialect == "zns" else 0,
            "zrwa_count": 1 if case.dialect == "zns" else 0,
            "model": "host-aware" if swp else "host-managed",
            **more,
        }
    )


class Both:
    """One command to the device and to the model; what comes of it must be the same."""

    def __init__(self, settings: ref.Config) -> None:
        words = vars(settings) | {"conventional": [(z, 1) for z in settings.conventional]}
        if not words["append_limit"]:
            del words["append_limit"]
        self.device, self.model = zoned.memory(**words), ref.Disk(settings)

    def do(
        self, device: Callable[[zoned.Device], object], model: Callable[[ref.Disk], object]
    ) -> str | None:
        """The rule that was broken, or None."""
        answers: list[tuple[str | None, object]] = []
        try:
            answers.append((None, device(self.device)))
        except zoned.ZonedError as error:
            answers.append((error.rule, None))
        try:
            answers.append((None, model(self.model)))
        except ref.RefusedError as refused:
            answers.append((refused.rule, None))
        assert answers[0] == answers[1], f"device and model: {answers}"
        self.compare()
        return answers[0][0]

    def compare(self) -> None:
        for got, wanted in zip(self.device.report(), self.model.zones, strict=True):
            assert (got.index, got.condition, got.wp, got.non_seq, got.reset_recommended) == (
                wanted.index,
                wanted.condition,
                wanted.wp,
                wanted.non_seq,
                wanted.reset_recommended,
            )
            if wanted.type != ref.CONVENTIONAL:
                assert got.durable_wp == min(wanted.durable, wanted.pointer)
            shown = None if wanted.condition == ref.OFFLINE else wanted.extension
            assert self.device.zone_extension(got.index) == shown
            area = range(wanted.pointer, wanted.top) if wanted.area else None
            assert self.device.write_area(got.index) == area

    def write(self, zone: int = TARGET, blocks: int = 1, at: int | None = None) -> str | None:
        target = self.model.zones[zone]
        place = (
            (target.start if target.type == ref.CONVENTIONAL else target.pointer)
            if at is None
            else target.start + at * BLOCK
        )
        data = DATA * blocks
        return self.do(lambda d: d.pwrite(data, place), lambda m: m.write(data, place))

    def zone_command(self, name: str, zone: int = TARGET) -> str | None:
        return self.do(
            lambda d: getattr(d, f"{name}_zone")(zone), lambda m: m.zone_command(name, zone)
        )

    def set_condition(self, condition: ZoneCondition, zone: int = TARGET) -> str | None:
        return self.do(
            lambda d: d.set_condition(zone, condition), lambda m: m.set_condition(zone, condition)
        )

    def run(self, command: Command, zone: int = TARGET) -> str | None:
        """The table's command on the target zone."""
        name = command.name.lower()
        if command is Command.READ:
            start = self.model.zones[zone].start
            return self.do(lambda d: d.pread(BLOCK, start), lambda m: m.read(BLOCK, start))
        if command is Command.WRITE:
            target = self.model.zones[zone]
            return self.write(zone, at=0 if target.pointer == target.limit else None)
        if command is Command.APPEND:
            return self.do(lambda d: d.append(zone, DATA), lambda m: m.append(zone, DATA))
        if command in ALL_FORMS:
            short = name.removesuffix("_all")
            return self.do(lambda d: getattr(d, name)(), lambda m: m.all_command(short))
        if command is Command.POWER_CYCLE:
            return self.do(lambda d: d.power_cycle(), lambda m: m.power_cycle())
        if command is Command.SET_EXTENSION:
            return self.do(
                lambda d: d.set_zone_extension(zone, EXTENSION),
                lambda m: m.set_extension(zone, EXTENSION),
            )
        if command is Command.OPEN_ZRWA:
            return self.do(lambda d: d.open_zone_zrwa(zone), lambda m: m.open_zrwa(zone))
        if command is Command.COMMIT_ZRWA:
            end = self.model.zones[zone].pointer + BLOCK
            return self.do(lambda d: d.commit_zone(zone, end), lambda m: m.commit(zone, end))
        if command in SETTERS:
            return self.set_condition(SETTERS[command], zone)
        return self.zone_command(name, zone)

    def bring(self, case: Case) -> None:
        """The target zone into the case's condition."""
        condition = case.condition
        if case.way == "extended":
            assert self.run(Command.SET_EXTENSION) is None
        if case.way == "area":
            assert self.run(Command.OPEN_ZRWA) is None
            if condition is ZoneCondition.IMPLICIT_OPEN:
                self.zone_command("close")
            self.write()
        if case.way in ("written", "filled"):
            self.write(blocks=CAPACITY_BLOCKS if case.way == "filled" else 1)
        bare = case.way == "bare" and condition is ZoneCondition.CLOSED
        if case.way != "area" and (condition is ZoneCondition.EXPLICIT_OPEN or bare):
            self.zone_command("open")
        if condition is ZoneCondition.CLOSED:
            self.zone_command("close")
        if case.way == "finished":
            self.zone_command("finish")
        if condition in (ZoneCondition.READ_ONLY, ZoneCondition.OFFLINE):
            self.set_condition(condition)
        assert self.device.zones[TARGET].condition is condition

    def close(self) -> None:
        self.device.close()


Maker = Callable[[ref.Config], Both]


@pytest.fixture
def pair() -> Iterator[Maker]:
    made: list[Both] = []

    def make(settings: ref.Config) -> Both:
        made.append(Both(settings))
        return made[-1]

    yield make
    for both in made:
        both.close()


def the_cell(case: Case) -> Cell:
    found = cell(case.dialect, case.kind, case.condition, case.command)
    assert found is not None, f"no cell for {case}"
    return found


def refused(case: Case, field: Cell) -> str | None:
    """The rule that the command breaks: the cell's, but for what depends on a random write area."""
    required = case.dialect == "zns" and case.kind is ZoneType.SEQ_WRITE_REQUIRED
    if case.command is Command.COMMIT_ZRWA and required and case.way != "area":
        return field.error or "invalid-commit"
    if case.command is Command.APPEND and case.way == "area":
        return "invalid-zone-operation"
    return field.error


def next_condition(case: Case, field: Cell, before: ref.Zone, written: int) -> ZoneCondition:
    initial = ZoneCondition.NOT_WP if case.kind is ZoneType.CONVENTIONAL else ZoneCondition.EMPTY
    return {
        Next.SAME: case.condition,
        Next.ERROR: case.condition,
        Next.EMPTY: ZoneCondition.EMPTY,
        Next.IMPLICIT_OPEN: ZoneCondition.IMPLICIT_OPEN,
        Next.EXPLICIT_OPEN: ZoneCondition.EXPLICIT_OPEN,
        Next.CLOSED: ZoneCondition.CLOSED,
        Next.CLOSED_OR_EMPTY: ZoneCondition.CLOSED if written else ZoneCondition.EMPTY,
        Next.FULL: ZoneCondition.FULL,
        Next.READ_ONLY: ZoneCondition.READ_ONLY,
        Next.OFFLINE: ZoneCondition.OFFLINE,
        Next.INITIAL: initial,
    }[field.next]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cell(case: Case, pair: Maker) -> None:
    field = the_cell(case)
    both = pair(config(case))
    both.bring(case)
    before = both.model.zones[TARGET]
    written, durable = before.pointer - before.start, before.durable
    holds = before.top - before.start or (0 if before.extension is None else len(EXTENSION))
    error = both.run(case.command)
    zone = both.device.zones[TARGET]

    assert error == refused(case, field)
    if error is not None and field.next is not Next.ERROR:
        assert zone.condition is case.condition
        return
    assert zone.condition is next_condition(case, field, before, holds)
    if case.kind is not ZoneType.CONVENTIONAL:
        if Effect.WP_START in field.effects:
            written = 0
        if Effect.WP_END in field.effects:
            written = CAPACITY_BLOCKS * BLOCK
        in_area = case.way == "area" and case.command is Command.WRITE
        if Effect.ADVANCE in field.effects and not in_area:
            written += BLOCK
            durable += BLOCK if case.command is Command.COMMIT_ZRWA else 0
        if zone.wp is not None:
            assert zone.wp == START + written
        if Effect.WP_START in field.effects:
            assert zone.durable_wp == START
        elif Effect.DURABLE in field.effects or case.command is Command.POWER_CYCLE:
            assert zone.durable_wp == START + written
        else:
            assert zone.durable_wp == durable, "only what the table says makes data durable"
    if Effect.WP_START in field.effects and zone.condition is not ZoneCondition.OFFLINE:
        content = both.device.pread(BLOCK, START)
        pattern = case.dialect == "nullblk" and case.kind is not ZoneType.CONVENTIONAL
        assert content == (b"\xff" if pattern else b"\0") * BLOCK


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.command in (Command.WRITE, Command.APPEND) and c.way != "area"],
    ids=str,
)
def test_write_that_reaches_the_capacity(case: Case, pair: Maker) -> None:
    """From every condition that a write leaves open, the zone becomes FULL."""
    field = the_cell(case)
    if Effect.ADVANCE not in field.effects:
        assert field.next in (Next.ERROR, Next.SAME)
        return
    both = pair(config(case))
    both.bring(case)
    target = both.model.zones[TARGET]
    data = DATA * ((target.limit - target.pointer) // BLOCK)
    if case.command is Command.APPEND:
        assert both.do(lambda d: d.append(TARGET, data), lambda m: m.append(TARGET, data)) is None
    else:
        assert both.write(blocks=len(data) // BLOCK) is None
    assert both.device.zones[TARGET].condition is ZoneCondition.FULL


@pytest.mark.parametrize("case", CASES, ids=str)
def test_open_resource(case: Case, pair: Maker) -> None:
    """The one open resource is held by another zone, explicitly: only cells that take one may mind."""
    if case.condition in (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN):
        return  # the target holds it itself
    field = the_cell(case)
    both = pair(config(case, max_open=1))
    both.bring(case)
    both.zone_command("close") if case.condition is ZoneCondition.CLOSED else None
    assert both.zone_command("open", OTHER) is None
    error = both.run(case.command)
    limited = case.kind is ZoneType.SEQ_WRITE_REQUIRED and Effect.OPEN in field.effects
    limited = limited and not refused(case, field)
    if case.command is not Command.SET_EMPTY:
        assert error == ("too-many-open" if limited else refused(case, field))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_open_resource_of_an_implicitly_open_zone(case: Case, pair: Maker) -> None:
    """Held implicitly, it is taken away: the other zone is closed, exactly where the cell takes one."""
    if case.condition in (ZoneCondition.IMPLICIT_OPEN, ZoneCondition.EXPLICIT_OPEN):
        return
    if case.command in ALL_FORMS or case.command is Command.POWER_CYCLE:
        return  # they meet the other zone too
    field = the_cell(case)
    both = pair(config(case, max_open=1))
    both.bring(case)
    assert both.write(OTHER) is None
    assert both.run(case.command) == refused(case, field)
    takes = case.kind is ZoneType.SEQ_WRITE_REQUIRED and Effect.OPEN in field.effects
    takes = takes and not refused(case, field)
    closed = both.device.zones[OTHER].condition is ZoneCondition.CLOSED
    assert closed == takes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_active_resource(case: Case, pair: Maker) -> None:
    """All active resources are held by closed zones: only cells that take one may mind."""
    if case.condition.is_active:
        return
    field = the_cell(case)
    both = pair(config(case, max_active=1))
    both.bring(case)
    assert both.write(OTHER) is None
    assert both.zone_command("close", OTHER) is None
    error = both.run(case.command)
    takes = case.kind is ZoneType.SEQ_WRITE_REQUIRED and Effect.ACTIVE in field.effects
    assert error == ("too-many-active" if takes else refused(case, field))


def test_null_blk_needs_an_active_resource_to_evict(pair: Maker) -> None:
    """null_check_open(): both limits reached, and a CLOSED zone is written: ZBC evicts, null_blk refuses."""
    for dialect, wanted in (("nullblk", "too-many-open"), ("zns", None), ("zbc", None)):
        case = Case(
            dialect, ZoneType.SEQ_WRITE_REQUIRED, ZoneCondition.CLOSED, Command.WRITE, "written"
        )
        both = pair(config(case, max_open=1, max_active=2))
        both.bring(case)
        assert both.write(OTHER) is None
        assert both.write(TARGET) == wanted, dialect


def test_read_over_a_required_zone_between_conventional_ones(pair: Maker) -> None:
    """Restricted reads: the borders of the required zone count, though both ends are conventional."""
    settings = ref.Config(
        size=3 * ZONE_BLOCKS * BLOCK,
        zone_size=ZONE_BLOCKS * BLOCK,
        zone_capacity=ZONE_BLOCKS * BLOCK,
        conventional=(0, 2),
        unrestricted_read=False,
    )
    both = pair(settings)
    assert both.zone_command("finish", 1) is None
    length = 2 * ZONE_BLOCKS * BLOCK + BLOCK
    assert both.do(lambda d: d.pread(length, 0), lambda m: m.read(length, 0)) == "read-boundary"


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c.kind is ZoneType.SEQ_WRITE_PREFERRED and c.command is Command.WRITE],
    ids=str,
)
@pytest.mark.parametrize("block", [0, 1, 2, 4])
def test_non_sequential_write(case: Case, block: int, pair: Maker) -> None:
    """SWP: a write away from the write pointer is taken, and remembered in non_seq."""
    field = the_cell(case)
    both = pair(config(case))
    both.bring(case)
    target = both.model.zones[TARGET]
    at_pointer = target.pointer == target.start + block * BLOCK
    assert both.write(at=block) == field.error
    zone = both.device.zones[TARGET]
    if field.next is not Next.ERROR:
        assert Effect.NON_SEQ in field.effects
        assert zone.non_seq == (not at_pointer)
        assert both.run(Command.RESET) is None
        zone = both.device.zones[TARGET]
        assert not zone.non_seq and not zone.reset_recommended


def test_table_is_complete() -> None:
    """A cell for each combination that can occur, and none for any other."""
    wanted = {(c.dialect, c.kind, c.condition, c.command) for c in CASES}
    for dialect in TYPES:
        for kind in ZoneType:
            for condition in ZoneCondition:
                for command in COMMANDS:
                    there = cell(dialect, kind, condition, command) is not None
                    key = (dialect, kind, condition, command)
                    assert there == (key in wanted), key
                assert cell(dialect, kind, condition, Command.FLUSH) is None


def test_cells_are_consistent() -> None:
    """An error names a rule and has no effects; effects belong to the next condition that they need."""
    names = {rule.name for rule in zoned.rules.rules("zbc")}
    for case in CASES:
        field = the_cell(case)
        if field.next is Next.ERROR:
            assert field.error in names and not field.effects, case
            continue
        assert field.error is None, case
        if Effect.ADVANCE in field.effects:
            assert field.next in (Next.IMPLICIT_OPEN, Next.EXPLICIT_OPEN), case
        if Effect.WP_END in field.effects:
            assert field.next is Next.FULL, case
        if Effect.WP_START in field.effects:
            assert field.next in (Next.EMPTY, Next.INITIAL), case
        if Effect.ACTIVE in field.effects:
            assert case.condition is ZoneCondition.EMPTY, case
            opens = case.command is not Command.SET_EXTENSION  # the zone is closed at once
            assert (Effect.OPEN in field.effects) == opens, case
