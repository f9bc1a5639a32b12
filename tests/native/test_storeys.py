"""The C code's storeys: what lies below knows nothing of what lies above.

Each C file is compiled (unoptimised, quickly) and asked for the names that it defines and needs; with its
includes that gives every arrow between files. None may run upward, none may go in a circle, and no
file may be so long that nobody reads it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

pytestmark = pytest.mark.program

NATIVE = Path(__file__).parents[2] / "native"
LONGEST = 600  # lines

STOREYS = (
    "base",
    "rules",
    "device/area",
    "device/store",
    "device/hooks",
    "device/disk",
    "device/whole",
)
"""From the bottom up: each may call itself and what stands before it."""

BESIDE = {
    "sim": ("base", "rules", "sim"),
    "fs": (*STOREYS, "fs"),
    "wire": (*STOREYS, "wire"),
    "serve": (*STOREYS, "fs", "wire", "serve"),
    "preload": (*STOREYS, "wire", "sim", "preload"),
}
"""Rooms that stand beside the device or on it, and what each may call."""

# A private clock of a device, its pace and the replay onto a disk are what couples the simulation to the device.
COUPLINGS = {"sim/clock.c", "sim/pace.c", "sim/real.c"}


@dataclass
class Unit:
    """A C file: where it is and the names it defines and needs."""

    path: str
    defines: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)

    @property
    def room(self) -> str:
        return str(Path(self.path).parent)


def names(listing: str, unit: Unit) -> None:
    """Take what ``nm`` printed of a unit's object."""
    for line in listing.splitlines():
        *_, kind, name = line.split()
        if kind in "TDBRVW":
            unit.defines.add(name)
        elif kind == "U":
            unit.needs.add(name)


def compiled(native: Path, where: str, out: Path) -> Unit:
    path, made = native / where, out / (where.replace("/", "_") + ".o")
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O0", f"-I{native}", f"-I{native / 'include'}"]
    subprocess.run(["gcc", *flags, "-c", "-o", str(made), str(path)], check=True)
    listed = subprocess.run(["nm", str(made)], capture_output=True, text=True, check=True)
    unit = Unit(where)
    names(listed.stdout, unit)
    if (
        unit.room == "preload"
    ):  # what it stands in for is libc's: who calls open() does not mean this one
        unit.defines = {name for name in unit.defines if name.startswith("zp_")}
    return unit


def read(native: Path, out: Path) -> list[Unit]:
    """All C files of the storeys and of the rooms beside them; FUSE's are modules of another kind."""
    found = sorted(str(path.relative_to(native)) for path in native.rglob("*.c"))
    return [
        compiled(native, where, out)
        for where in found
        if not where.startswith("python/") and not Path(where).name.startswith("fuse")
    ]


def may_call(room: str) -> tuple[str, ...]:
    """The rooms that one may use."""
    if room in STOREYS:
        return STOREYS[: STOREYS.index(room) + 1]
    beside = room.split("/", maxsplit=1)[0]
    return BESIDE[beside] + ((room,) if room not in BESIDE[beside] else ())


def is_below(room: str, target: str) -> bool:
    allowed = may_call(room)
    return target in allowed or target.split("/", maxsplit=1)[0] in allowed


def upward(units: list[Unit], native: Path) -> list[str]:
    """Calls, variables and includes that run upward, one line each."""
    home = {name: unit for unit in units for name in unit.defines}
    found = []
    for unit in units:
        if unit.path in COUPLINGS:
            continue
        for name in sorted(unit.needs):
            target = home.get(name)
            if target is not None and not is_below(unit.room, target.room):
                found.append(f"{unit.path} calls {name} of {target.path}")
    for path in sorted(native.rglob("*.[ch]")):
        where = path.relative_to(native)
        room = str(where.parent)
        if str(where) in COUPLINGS or room in (".", "python") or room.startswith("include"):
            continue
        if path.name.startswith("fuse"):
            continue
        for name in re.findall(r'(?m)^#include "([^"]+)"', path.read_text("utf-8")):
            beside = (path.parent / name).resolve()
            whole = beside if beside.is_file() else native.resolve() / name
            target = str(whole.relative_to(native.resolve()).parent)
            public = target == "." or (native / "include" / name).is_file()
            if not public and not is_below(room, target):
                found.append(f"{where} includes {name}")
    return found


def circles(units: list[Unit]) -> list[list[str]]:
    """Files that need each other in a ring (strongly connected ones, by Tarjan's algorithm)."""
    home = {name: unit.path for unit in units for name in unit.defines}
    arrows = {
        unit.path: {home[name] for name in unit.needs if home.get(name, unit.path) != unit.path}
        for unit in units
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(arrows[node]):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            ring = []
            while True:
                ring.append(stack.pop())
                if ring[-1] == node:
                    break
            if len(ring) > 1:
                found.append(sorted(ring))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    return read(NATIVE, tmp_path_factory.mktemp("storeys"))


def test_no_arrow_runs_upward(units: list[Unit]) -> None:
    found = upward(units, NATIVE)
    assert not found, "\n".join(found)


def test_no_files_need_each_other_in_a_circle(units: list[Unit]) -> None:
    device = [unit for unit in units if unit.room in STOREYS]
    assert not circles(device)


def test_no_file_is_too_long_to_read() -> None:
    lengths = {
        str(path.relative_to(NATIVE)): len(path.read_text("utf-8").splitlines())
        for path in NATIVE.rglob("*.[ch]")
    }
    assert {"base", "sim", "serve", "fs", "include", "python"} <= {
        Path(path).parts[0] for path in lengths
    }
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_each_storey_has_one_header_that_says_what_it_is_for() -> None:
    for storey in STOREYS[2:]:
        name = Path(storey).name
        header = (NATIVE / storey / f"{name}.h").read_text("utf-8")
        begin = header.split("*/")[1]
        assert f"\n * {name}: " in begin
        assert "may call" in begin
        others = {path.name for path in (NATIVE / storey).glob("*.h")} - {f"{name}.h"}
        assert others <= {"format.h", "layout.h"}, "layouts of bytes have headers of their own"


def public_names(native: Path) -> set[str]:
    """Every function that the public headers declare."""
    headers = sorted((native / "include").rglob("*.h"))
    text = "\n".join(path.read_text("utf-8") for path in headers)
    return set(re.findall(r"\b(zd_\w+)\(", text))


def past_the_front(units: list[Unit], native: Path) -> list[str]:
    """Calls from wire protocols into the disk that no public header declares, one line each."""
    home = {name: unit for unit in units for name in unit.defines}
    public = public_names(native)
    return [
        f"{unit.path} calls {name}"
        for unit in units
        if unit.room.startswith("wire")
        for name in sorted(unit.needs - public)
        if name in home and home[name].room.startswith("device")
    ]


def test_doors_know_the_disk_by_its_public_headers(units: list[Unit]) -> None:
    """What turns command bytes into requests includes and calls nothing of the disk's own."""
    for path in sorted((NATIVE / "wire").rglob("*.[ch]")):
        for name in re.findall(r'(?m)^#include "([^"]+)"', path.read_text("utf-8")):
            assert name.startswith(("zoned/", "wire/", "rules/", "base/")), (
                f"{path.name} includes {name}"
            )
    assert not past_the_front(units, NATIVE)
    planted = Unit("wire/scsi/planted.c", needs={"zd_mark_dirty", "zd_submit", "zd_scsi_good"})
    assert past_the_front([*units, planted], NATIVE) == ["wire/scsi/planted.c calls zd_mark_dirty"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the device's storeys, to be spoilt."""
    copy = tmp_path_factory.mktemp("house") / "native"
    for room in ("base", "rules", "device", "wire", "include"):
        shutil.copytree(NATIVE / room, copy / room)
    for header in NATIVE.glob("*.h"):
        shutil.copy(header, copy)
    return copy


CALL = """
int zd_mark_dirty(zd_dev *dev, struct zd_error *err);
int planted(zd_dev *dev);
int planted(zd_dev *dev) { return zd_mark_dirty(dev, 0); }
"""
VARIABLE = """
extern struct zd_error zd_planted;
struct zd_error *planted(void);
struct zd_error *planted(void) { return &zd_planted; }
"""
PLANTED = {
    "an upward call": ("device/store/slot.c", CALL),
    "an upward include": ("device/area/meta.c", '#include "device/disk/disk.h"\n'),
    "a door that knows who serves": ("wire/scsi/exec.c", '#include "serve/planted.h"\n'),
    "a variable of a room that it may not know": ("rules/table.c", VARIABLE),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_arrow_is_found(
    house: Path, units: list[Unit], tmp_path: Path, what: str
) -> None:
    where, text = PLANTED[what]
    path = house / where
    (house / "serve").mkdir(exist_ok=True)
    (house / "serve/planted.h").touch()
    before = path.read_text("utf-8")
    path.write_text(before + text, "utf-8")
    try:
        spoilt = compiled(house, where, tmp_path)
        others = [unit for unit in units if unit.path != where]
        others.append(Unit("device/whole/planted.c", defines={"zd_planted"}))
        found = upward([*others, spoilt], house)
    finally:
        path.write_text(before, "utf-8")
    assert len(found) == 1
    assert found[0].startswith(where)


def test_a_planted_circle_is_found() -> None:
    ring = [
        Unit("device/area/a.c", defines={"a"}, needs={"b"}),
        Unit("device/area/b.c", defines={"b"}, needs={"c"}),
        Unit("device/area/c.c", defines={"c"}, needs={"a"}),
        Unit("device/area/d.c", defines={"d"}, needs={"a"}),
    ]
    assert circles(ring) == [["device/area/a.c", "device/area/b.c", "device/area/c.c"]]
