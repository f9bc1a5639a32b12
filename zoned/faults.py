"""Fault rules: making a disk fail on purpose, exactly there and exactly then.

``dev.faults`` is the book of rules of a disk. They live in the disk's shared state, so they act on
every process that has it open, and they stay until cleared (or until the host boots anew)::

    with dev.faults.add("medium", on="write", zones=3, nth=2):
        ...                      # the second write to zone 3 fails
    dev.faults.load("plan.toml")  # many rules at once

What each kind does, and when a rule acts, is told in zoned/fault.h; the keywords here are the same.
Every error that a rule makes says so: ``error.injected``, ``error.fault``, and in its sentence.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from zoned._core.handle import ask
from zoned._core.native import ffi, lib
from zoned._core.raising import raise_error
from zoned.inputs import MOST_TOML, InputError, parse_toml, read_bytes
from zoned.listed import Listed
from zoned.plaintext import printable
from zoned.units import SizeError, parse_size
from zoned.zonelist import ZoneListError, ZoneSet

if TYPE_CHECKING:
    from zoned.device import Device

_ANYWHERE = 2**64 - 1
_LAST_ZONE = 2**32 - 1
_MOST = 2**63
_E = TypeVar("_E", bound=StrEnum)


class FaultError(InputError):
    """A rule that says something impossible, or can never act; a plan that cannot be read."""


class FaultKind(StrEnum):
    """What a rule does to the commands it acts on."""

    MEDIUM = "medium"
    """Medium error at the first block of the rule's range; what lies before it is transferred."""
    TORN = "torn"
    """The first ``blocks`` blocks of a write land, then it fails."""
    LOST = "lost"
    """A write is acknowledged, but gone after the next power cut, flushed or not."""
    FLUSH_ERROR = "flush-error"
    """A write succeeds; the next flush fails and makes nothing durable."""
    FLIP_READ = "flip-read"
    """One bit is wrong in what was read, silently."""
    FLIP_MEDIA = "flip-media"
    """One bit is wrong in what was stored, silently."""
    READ_ONLY = "read-only"
    """The zone goes READ_ONLY before the command, or after it."""
    OFFLINE = "offline"
    """The zone goes OFFLINE before the command, or after it."""
    LATENCY = "latency"
    """The command takes longer: in real time, in virtual time, or both."""
    HANG = "hang"
    """The command waits until released, cleared or timed out (CommandTimeoutError)."""
    LIMIT = "limit"
    """TooManyOpenError or TooManyActiveError although resources are left."""
    POWER_CUT = "power-cut"
    """The power goes before the command, or after it."""


class Keep(StrEnum):
    """What a power cut keeps of the data that was written but not flushed."""

    DURABLE = "durable"
    """Nothing of it."""
    ALL = "all"
    """All of it."""
    RANDOM = "random"
    """Each zone up to a block drawn from the seed."""


_KINDS = {kind: getattr(lib, f"ZD_FAULT_{kind.name}") for kind in FaultKind}
_KIND_OF = {number: kind for kind, number in _KINDS.items()}
KEEPS = {keep: getattr(lib, f"ZD_KEEP_{keep.name}") for keep in Keep}
_KEEP_OF = {number: keep for keep, number in KEEPS.items()}

COMMANDS = {
    name.lower().replace("_", "-"): getattr(lib, f"ZD_CMD_{name}")
    for name in (
        *("READ", "WRITE", "APPEND", "OPEN", "CLOSE", "FINISH", "RESET"),
        *("OPEN_ALL", "CLOSE_ALL", "FINISH_ALL", "RESET_ALL", "FLUSH", "SET_EXTENSION"),
        *("OPEN_ZRWA", "COMMIT_ZRWA"),
    )
}
"""Names of the commands that rules can meet, and their numbers."""

Zones = int | str | tuple[int, int] | range
"""One zone, a text such as "3-7", (first, count), or a range."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """A rule as it is asked for. Every field is a keyword of ``dev.faults.add`` and a key of a
    plan.
    """

    kind: FaultKind | str
    on: str | Iterable[str] | None = None
    """Commands: "write", "write,append", ["reset"]. None: all that the kind can happen on."""
    zones: Zones | None = None
    """None: all."""
    range: tuple[int | str, int | str] | None = None
    """Bytes from .. to-1 of the disk, in whole blocks. Meets read, write and append."""
    block: int | str | None = None
    """Instead of range: the one logical block that begins at this byte."""
    nth: int = 0
    """Acts on the nth command that it meets, and no other (from 1 on)."""
    every: int = 0
    """Acts on every nth command."""
    probability: float = 0.0
    """Acts by chance, 0 to 1. 0: not used."""
    once: bool = False
    """Acts a single time; ``times=1``."""
    times: int = 0
    """Acts at most so often; 0: until it is cleared."""
    order: int = 0
    """Rules that may meet the same command need different orders; the lower acts."""
    seed: int = 0
    """Of everything random about the rule."""
    blocks: int = 0
    """torn: logical blocks that land."""
    bit: int | None = None
    """flip-read, flip-media: which bit, from the first byte that command and rule share. None:
    drawn.
    """
    after: bool = False
    """read-only, offline, power-cut: once the command has succeeded, not before it."""
    latency: float | str = 0.0
    """latency: real time, in seconds or as "50ms"."""
    virtual_latency: float | str = 0.0
    """latency: virtual time; the sum is ``dev.faults.virtual_latency``."""
    timeout: float | str = 0.0
    """hang: seconds; 0: for ever."""
    active: bool = False
    """limit: of active zones, not of open ones."""
    keep: Keep | str = Keep.DURABLE
    """power-cut: what survives of unflushed data."""
    label: str = ""
    """For people; it is in the errors' sentences. At most 47 bytes of UTF-8."""

    def describe(self) -> str:
        """The rule in a few words: "medium error on write,append in zone 3, nth=2"."""
        parts = [f"{self.kind} on {self.on or 'anything'}"]
        parts += [f"zones={self.zones}"] if self.zones is not None else []
        for item in fields(self)[3:]:
            value = getattr(self, item.name)
            if value != item.default:
                parts.append(f"{item.name}={printable(str(value))}")
        return ", ".join(parts)


KEYS = tuple(item.name for item in fields(FaultRule))


@dataclass(slots=True)
class Fault:
    """A rule that was set. As a context manager it is cleared at the end."""

    id: int
    rule: FaultRule
    _device: Device = field(repr=False, compare=False)
    last: tuple[int, int, int] = field(default=(0, 0, 0), repr=False, compare=False)

    @property
    def seen(self) -> int:
        """Commands that it met. After clearing: as last known."""
        return self._counts()[0]

    @property
    def matched(self) -> int:
        """Commands that it acted on. After clearing: as last known."""
        return self._counts()[1]

    @property
    def waiting(self) -> int:
        """Commands that hang by it now. One whose process was killed counts till release()."""
        return self._counts()[2]

    def release(self) -> None:
        """Let go what hangs by it now; the rule stays."""
        _call(self._device, lib.zd_fault_release, self.id)

    def clear(self) -> None:
        """Take the rule away. Nothing happens if it is gone already."""
        self._counts()
        with contextlib.suppress(FaultError):
            _call(self._device, lib.zd_fault_clear, self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if not self._device.closed:
            self.clear()

    def __str__(self) -> str:
        return f"fault {self.told(*self._counts())}"

    def told(self, seen: int, matched: int, waiting: int) -> str:
        """ "3 'label': medium on write; met 2, acted on 1"."""
        label = f" {self.rule.label!r}" if self.rule.label else ""
        hangs = f", {waiting} waiting" if waiting else ""
        rule = replace(self.rule, label="").describe()
        return f"{self.id}{label}: {rule}; met {seen}, acted on {matched}{hangs}"

    def _counts(self) -> tuple[int, int, int]:
        for raw in _rows(self._device):
            if raw.id == self.id:
                self.last = raw.seen, raw.matched, raw.waiting
                return self.last
        self.last = *self.last[:2], 0
        return self.last


class Plan(Listed[Fault]):
    """The rules that one plan set. As a context manager they are cleared at the end."""

    __slots__ = ()

    def clear(self) -> None:
        """Take all of them away."""
        for fault in self:
            fault.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for fault in self:
            fault.__exit__(*raised)


class Faults:
    """The rules of a disk, as ``dev.faults``: iterate, ``len()``, add, load, clear."""

    __slots__ = ("_device",)

    def __init__(self, device: Device) -> None:
        self._device = device

    def add(self, kind: FaultKind | str, **keywords: Any) -> Fault:
        """Set a rule; keywords are the fields of FaultRule.

        Raises FaultError for a rule that is impossible, can never act, or may meet the same command
        as another one of the same order; TypeError for an unknown keyword.
        """
        unknown = [key for key in keywords if key not in KEYS]
        if unknown:
            raise TypeError(f"unknown keyword {unknown[0]!r}{_nearest(unknown[0], KEYS)}")
        return self.set(FaultRule(kind, **keywords))

    def set(self, rule: FaultRule) -> Fault:
        """Set a rule. Raises FaultError."""
        raw = _raw(rule, self._device)
        number = ffi.new("uint32_t *")
        _call(self._device, lib.zd_fault_add, raw, number)
        return Fault(number[0], rule, self._device)

    def load(self, plan: str | os.PathLike[str]) -> Plan:
        """Set the rules of a TOML plan, all or none: a table ``[[fault]]`` each, keys as
        FaultRule's.

        Raises FaultError, which names the file and the rule; OSError.
        """
        return self.set_all(read_plan(plan), where=f"plan {os.fsdecode(plan)}")

    def set_all(self, rules: Iterable[FaultRule], *, where: str = "") -> Plan:
        """Set several rules; all or none. ``where`` they stand is told with the one that is wrong.

        Raises FaultError.
        """
        done: list[Fault] = []
        try:
            for rule in rules:
                done.append(self.set(rule))  # noqa: PERF401 - what was set must be known
        except FaultError as error:
            Plan(done).clear()
            if not where:
                raise
            raise FaultError(f"{where}, fault {len(done) + 1}: {error}") from None
        except BaseException:
            Plan(done).clear()
            raise
        return Plan(done)

    def clear(self, fault: int | None = None) -> None:
        """Take one rule away by its id, or all of them, and then what is spoiled can be read again.

        Raises FaultError if there is none of that id.
        """
        number = 0 if fault is None else operator.index(fault)
        if fault is not None and not 0 < number <= _LAST_ZONE:
            raise FaultError(f"there is no fault {number}")
        _call(self._device, lib.zd_fault_clear, number)

    def release(self, fault: int | None = None) -> None:
        """Let go the commands that hang by a rule, or by any; the rules stay."""
        _call(self._device, lib.zd_fault_release, 0 if fault is None else operator.index(fault))

    def spoil(self, offset: int, length: int) -> None:
        """Spoil blocks, whole ones, given in bytes: reading them is a MediumError.

        Each can be read again once it was written, its zone was reset or went back to a snapshot,
        or all rules were cleared. A power cut does not help. Raises FaultError for a place that the
        disk does not have, or where 2,048 blocks are spoiled already.
        """
        at, n = operator.index(offset), operator.index(length)
        if min(at, n) < 0 or max(at, n) >= 1 << 63:
            raise FaultError(f"no disk has a range at {at} of length {n}")
        _call(self._device, lib.zd_fault_spoil, at, n)

    def spoiled(self) -> list[int]:
        """Where the spoiled blocks begin, bytes, in ascending order."""
        found: list[int] = []
        block = self._device.geometry.logical_block
        err = ffi.new("struct zd_error *")
        while True:
            after = found[-1] + block if found else 0
            at = ask(self._device, lib.zd_fault_spoiled, after, err)
            if at == -errno.ENOENT:
                return found
            if at < 0:
                raise_error(at, err, self._device, self._device.path)
            found.append(at)

    @property
    def virtual_latency(self) -> float:
        """Virtual time that latency rules have added, seconds."""
        return ask(self._device, lib.zd_fault_virtual_ns) / 1e9

    def __iter__(self) -> Iterator[Fault]:
        for raw in _rows(self._device):
            counts = raw.seen, raw.matched, raw.waiting
            yield Fault(raw.id, _rule_of(raw, self._device), self._device, counts)

    def __len__(self) -> int:
        return _call(self._device, lib.zd_fault_list, ffi.NULL, 0)

    def __repr__(self) -> str:
        return f"<Faults: {[str(fault) for fault in self]}>"


def read_plan(path: str | os.PathLike[str]) -> list[FaultRule]:
    """The rules of a TOML plan. Raises FaultError, OSError."""
    source = os.fsdecode(path)
    return parse_plan(read_bytes(path, MOST_TOML, FaultError, f"plan {source}"), source)


def parse_plan(content: bytes, source: str = "plan") -> list[FaultRule]:
    """The rules in the text of a plan. Raises FaultError."""
    table = parse_toml(content, FaultError, f"plan {source}")
    for key in table:
        if key != "fault":
            raise FaultError(f"plan {source}: unknown key {key}; rules are tables [[fault]]")
    rules = table.get("fault", [])
    if not isinstance(rules, list) or not rules or not all(isinstance(r, dict) for r in rules):
        raise FaultError(f"plan {source}: it needs at least one table [[fault]]")
    return [rule_of(entry, f"plan {source}, fault {at}") for at, entry in enumerate(rules, 1)]


def rule_of(entry: Mapping[str, Any], where: str) -> FaultRule:
    """The rule in a table of a plan, or in a dict like it; errors begin with ``where``.

    Raises FaultError.
    """
    for key in entry:
        if key not in KEYS:
            raise FaultError(f"{where}: unknown key {key}{_nearest(key, KEYS)}")
    if "kind" not in entry:
        raise FaultError(f"{where}: kind is missing")
    rule = FaultRule(**entry)
    try:
        _check(rule)
    except FaultError as exc:
        raise FaultError(f"{where}: {exc}") from None
    return rule


# ---------------------------------------------------------------- to and from the core


def _call(device: Device, function: Callable[..., int], *args: object) -> int:
    """A call about faults; what the core refuses in words is a FaultError."""
    err = ffi.new("struct zd_error *")
    code = ask(device, function, *args, err)
    if code in (-errno.EINVAL, -errno.ENOENT, -errno.ENOSPC):
        raise FaultError(ffi.string(err.text).decode("utf-8", "replace"))
    if code < 0:
        raise_error(code, err, device, device.path)
    return int(code)


def _rows(device: Device) -> list[Any]:
    raw = ffi.new("struct zd_fault[]", lib.ZD_MAX_FAULTS)
    count = _call(device, lib.zd_fault_list, raw, lib.ZD_MAX_FAULTS)
    # A copy each: an element of an array does not keep the array alive.
    return [ffi.new("struct zd_fault *", raw[i]) for i in range(min(count, lib.ZD_MAX_FAULTS))]


def _check(rule: FaultRule) -> None:
    """Everything that can be told without a disk."""
    _raw(rule, None)


def _raw(rule: FaultRule, device: Device | None) -> Any:
    raw = ffi.new("struct zd_fault *")
    raw.kind = _KINDS[_choice(FaultKind, "kind of fault", rule.kind)]
    raw.commands = _commands(rule.on)
    raw.first_zone, raw.last_zone = _zones(rule.zones)
    first, behind = _range(rule, 512 if device is None else device.geometry.logical_block)
    setattr(raw, "from", first)
    raw.to = behind
    for name in ("nth", "every", "blocks"):
        setattr(raw, name, _number(name, getattr(rule, name)))
    raw.order = _number("order", rule.order, _LAST_ZONE)
    raw.seed = _number("seed", rule.seed, _ANYWHERE)
    raw.limit = _limit(rule)
    raw.probability = _probability(rule.probability)
    raw.bit = _ANYWHERE if rule.bit is None else _number("bit", rule.bit)
    raw.after, raw.active = _flag("after", rule.after), _flag("active", rule.active)
    raw.keep = KEEPS[_choice(Keep, "choice of survivors", rule.keep)]
    raw.virtual_ns = _nanoseconds("virtual_latency", rule.virtual_latency)
    raw.real_ns = _nanoseconds("latency", rule.latency) or _nanoseconds("timeout", rule.timeout)
    _own(rule)
    raw.label = _label(rule.label)
    return raw


def _range(rule: FaultRule, block: int) -> tuple[int, int]:
    if rule.block is not None:
        if rule.range is not None:
            raise FaultError("block and range exclude each other: give one of them")
        first = _bytes("block", rule.block)
        return first, first + block
    if rule.range is None:
        return 0, 0
    if not isinstance(rule.range, Sequence) or isinstance(rule.range, str) or len(rule.range) != 2:
        raise FaultError(
            f"range is {rule.range!r}: it must be a pair, the first byte and the first behind it"
        )
    first, behind = (_bytes("range", value) for value in rule.range)
    if behind == 0:
        raise FaultError("range ends at 0: it must end behind its first byte")
    return first, behind


def _limit(rule: FaultRule) -> int:
    times = _number("times", rule.times)
    if _flag("once", rule.once) and times > 1:
        raise FaultError(f"once and times={times} exclude each other: give one of them")
    return 1 if rule.once else times


def _flag(name: str, value: object) -> bool:
    """A text such as "no" is not taken for a yes."""
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise FaultError(f"{name} is {value!r}: it must be true or false")
    return bool(value)


def _probability(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FaultError(f"probability is {value!r}: it must be a number")
    if not 0 <= value <= 1:
        raise FaultError(f"probability is {value}: it must be 0 to 1")
    if value and not round(value * 2**32):
        raise FaultError(f"probability is {value}: less than 2^-33 never happens")
    return round(value * 2**32)


def _label(value: object) -> bytes:
    if not isinstance(value, str):
        raise FaultError(f"label is {value!r}: it must be a text")
    try:
        label = value.encode("utf-8")
    except UnicodeEncodeError:
        raise FaultError(f"label is {value!r}: it must be UTF-8 text") from None
    if len(label) > 47 or b"\0" in label:
        raise FaultError("label is longer than 47 bytes of UTF-8, or holds a NUL")
    return label


_OWNERS: tuple[tuple[str, tuple[FaultKind, ...]], ...] = (
    ("bit", (FaultKind.FLIP_READ, FaultKind.FLIP_MEDIA)),
    ("active", (FaultKind.LIMIT,)),
    ("keep", (FaultKind.POWER_CUT,)),
    ("latency", (FaultKind.LATENCY,)),
    ("virtual_latency", (FaultKind.LATENCY,)),
    ("timeout", (FaultKind.HANG,)),
)


def _own(rule: FaultRule) -> None:
    """Keywords that mean nothing to the rule's kind are mistakes."""
    for name, kinds in _OWNERS:
        given = getattr(rule, name) not in (None, False, 0, Keep.DURABLE) or (
            name == "bit" and rule.bit is not None
        )
        if given and _choice(FaultKind, "kind of fault", rule.kind) not in kinds:
            raise FaultError(f"{name} belongs to {' and '.join(kinds)}, not to {rule.kind}")


def _rule_of(raw: Any, device: Device) -> FaultRule:
    """A rule as the disk has it."""
    kind = _KIND_OF[raw.kind]
    on = [name for name, number in COMMANDS.items() if raw.commands >> number & 1]
    everywhere = raw.first_zone == 0 and raw.last_zone == device.geometry.nr_zones - 1
    first, last = raw.first_zone, raw.last_zone
    zones = str(first) if first == last else f"{first}-{last}"
    seconds, virtual = raw.real_ns / 1e9, raw.virtual_ns / 1e9
    return FaultRule(
        kind,
        on=",".join(on),
        zones=None if everywhere else zones,
        range=(getattr(raw, "from"), raw.to) if raw.to else None,
        nth=raw.nth,
        every=raw.every,
        probability=raw.probability / 2**32,
        times=raw.limit,
        order=raw.order,
        seed=raw.seed,
        blocks=raw.blocks,
        bit=None if raw.bit == _ANYWHERE else raw.bit,
        after=bool(raw.after),
        latency=seconds if kind is FaultKind.LATENCY else 0.0,
        virtual_latency=virtual,
        timeout=seconds if kind is FaultKind.HANG else 0.0,
        active=bool(raw.active),
        keep=_KEEP_OF[raw.keep],
        label=ffi.string(raw.label).decode("utf-8", "replace"),
    )


def _choice(kinds: type[_E], what: str, value: object) -> _E:
    text = str(value).lower().replace("_", "-")
    try:
        return kinds(text)
    except ValueError:
        names = tuple(kinds)
        hint = (
            isinstance(value, str) and _nearest(text, names)
        ) or f": there are {', '.join(names)}"
        raise FaultError(f"there is no {what} {value!r}{hint}") from None


def keep_number(keep: Keep | str) -> int:
    """The core's number of a choice of survivors. Raises FaultError."""
    return int(KEEPS[_choice(Keep, "choice of survivors", keep)])


def _commands(on: str | Iterable[str] | None) -> int:
    if on is None:
        return 0
    names = on.split(",") if isinstance(on, str) else on
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise FaultError(f"on is {on!r}: it must be names of commands")
    bits = 0
    for name in names:
        plain = name.strip().lower().replace("_", "-")
        if plain not in COMMANDS:
            hint = _nearest(plain, COMMANDS) or f": there are {', '.join(COMMANDS)}"
            raise FaultError(f"there is no command {name.strip()!r}{hint}")
        bits |= 1 << COMMANDS[plain]
    if not bits:
        raise FaultError("on names no command, so the rule can never act")
    return bits


def _zones(zones: Zones | None) -> tuple[int, int]:
    if zones is None:
        return 0, _LAST_ZONE
    try:
        if isinstance(zones, int) and not isinstance(zones, bool):
            found = ZoneSet([(zones, 1)])
        elif isinstance(zones, str):
            found = ZoneSet.parse(zones)
        elif isinstance(zones, range):
            found = ZoneSet.of(zones)
        elif not isinstance(zones, tuple):
            # A list, as a plan may have it, could as well mean zones 3 and 7, or 3 to 7.
            raise TypeError
        else:
            first, count = zones
            found = ZoneSet([(operator.index(first), operator.index(count))])
    except ZoneListError as exc:
        raise FaultError(f"zones: {exc}") from None
    except (TypeError, ValueError):
        raise FaultError(
            f"zones is {zones!r}: it must be a zone, a text such as 3-7, or (first, count)"
        ) from None
    ranges = found.ranges()
    if len(ranges) != 1:
        raise FaultError(f"zones are {found or 'none'}: a rule holds for one range of zones")
    first, count = ranges[0]
    return first, first + count - 1


def _bytes(name: str, value: int | str) -> int:
    try:
        return _number(name, parse_size(value, name) if isinstance(value, str) else value)
    except SizeError as exc:
        raise FaultError(f"{name}: {exc}") from None


def _number(name: str, value: int, most: int = _MOST) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise FaultError(f"{name} is {value!r}: it must be a whole number") from None
    if not 0 <= number <= most:
        raise FaultError(f"{name} is {number}: it must be 0 to {most}")
    return number


_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "": 10**9, "min": 60 * 10**9}


def _nanoseconds(name: str, value: float | str) -> int:
    # An exponent of four digits would make a number that Python refuses to write.
    match = re.fullmatch(r"\s*([0-9.]{1,40}(?:e[+-]?[0-9]{1,3})?)\s*([a-z]*)\s*", str(value))
    try:
        amount = Decimal(match[1]) if match else None
    except InvalidOperation:
        amount = None
    if match is None or amount is None or match[2] not in _UNITS:
        raise FaultError(f"{name} is {value!r}: write seconds, or a text such as 50ms")
    exact = amount * _UNITS[match[2]]
    if 0 < exact < 1:
        raise FaultError(f"{name} is {value!r}: less than a nanosecond is none")
    return _number(name, int(exact))


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
