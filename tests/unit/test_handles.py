"""What Python does to any object (copy, pickle, repr, dir, with) ends well for those that hold a handle of the core."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
import zonefs


@pytest.fixture
def dev() -> Iterator[zoned.Device]:
    with zoned.memory() as device:
        zonefs.mkfs(device)
        yield device


OWNERS: dict[str, Callable[[zoned.Device, zonefs.ZoneFS], Any]] = {
    "ZoneFS": lambda dev, fs: fs,
    "ZoneFile": lambda dev, fs: fs.open("seq/0", "ab", buffering=0),
    "BlockWriter": lambda dev, fs: fs.open("seq/1", "ab"),
    "StreamFile": lambda dev, fs: fs.open_stream("seq/2", "wb", buffering=0),
    "Snapshot": lambda dev, fs: dev.snapshot(),
    "CrashStates": lambda dev, fs: dev.crash_states(),
}


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"]
)
@pytest.mark.parametrize("name", OWNERS)
def test_what_owns_a_handle_is_not_copied(
    dev: zoned.Device, name: str, duplicate: Callable[[Any], object]
) -> None:
    """A copy would free what the original goes on using: closing the copy of a ZoneFS made its own close hang."""
    with zonefs.ZoneFS(dev) as fs:
        owner = OWNERS[name](dev, fs)
        with pytest.raises(TypeError, match=r"cannot (be copied or pickled|pickle)"):
            duplicate(owner)
        assert not getattr(owner, "closed", False)
        assert fs.stat("seq/3").st_size == 0
        owner.close()


def test_what_is_closed_cannot_be_entered_or_asked(dev: zoned.Device) -> None:
    fs = zonefs.ZoneFS(dev)
    assert (fs / "seq").exists()
    fs.close()
    for question in (fs.__enter__, (fs / "seq").exists, lambda: fs.is_dir("seq")):
        with pytest.raises(ValueError, match="the file system is closed"):
            question()
    other = zoned.memory()
    other.close()
    with pytest.raises(ValueError, match="the device is closed"), other:
        pass


def test_representations_tell_what_it_is(dev: zoned.Device, tmp_path: Any) -> None:
    assert repr(dev.trace) == "<dev.trace, this handle records nothing>"
    with dev.trace.record(tmp_path / "x"):
        assert repr(dev.trace) == f"<dev.trace, recording to {str(tmp_path / 'x')!r}>"
    dev.append(5, bytes(8192))
    states = dev.crash_states()
    assert repr(states) == "<zoned.CrashStates linear: 3 of 3>"
    states.close()
    assert repr(states) == "<zoned.CrashStates, closed>"


def test_dir_shows_the_public_names_only() -> None:
    names = [name for name in dir(zoned) if not name.startswith("__")]
    assert names == sorted(set(zoned.__all__) - {"__version__"})
    assert "__version__" in dir(zoned)


WRONG: dict[str, tuple[Callable[[zoned.Device], object], str]] = {
    "rollback": (lambda dev: dev.rollback(None), "snapshot must be a zoned.Snapshot, not NoneType"),
    "choice": (lambda dev: dev.power_cut(choice=5), "the id of a crash state is a text, not int"),
    "limit": (lambda dev: dev.crash_states(limit="9"), "limit must be an integer, not str"),
    "last": (lambda dev: dev.trace.last("9"), "count must be an integer, not str"),
    "index": (lambda dev: dev.zones["9"], "a zone's index is an integer or a slice, not str"),
    "device": (
        lambda dev: zonefs.ZoneFS("disk.img"),
        "dev must be a zoned.Device, not str; zoned.open",
    ),
    "mkfs": (
        lambda dev: zonefs.mkfs("disk.img"),
        "dev must be a zoned.Device, not str; zoned.open",
    ),
    "superblock": (
        lambda dev: zonefs.read_superblock(None),
        "dev must be a zoned.Device, not NoneType",
    ),
    "label": (lambda dev: zonefs.mkfs(dev, 5), "label must be a text, not int"),
    "perm": (lambda dev: zonefs.mkfs(dev, perm="640"), "perm must be an integer, not str"),
    "flag": (
        lambda dev: zonefs.mkfs(dev, aggregate_conventional="no"),
        "must be True or False, not 'no'",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_is_named(dev: zoned.Device, name: str) -> None:
    call, said = WRONG[name]
    with pytest.raises(TypeError, match=said):
        call(dev)
    assert dev.powered


def test_no_kind_of_fault_is_guessed_from_what_is_no_text(dev: zoned.Device) -> None:
    with pytest.raises(
        zoned.FaultError, match="there is no kind of fault None: there are medium, torn"
    ):
        dev.faults.add(None)


def test_opening_a_disk_loads_no_drives(tmp_path: Path) -> None:
    """Profiles and models are read where one is asked for."""
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    code = (
        "import sys, zoned\n"
        "zoned.open(sys.argv[1]).close()\n"
        "print(*sorted(sys.modules.keys() & {'zoned.drives.models', 'zoned.drives.pace',"
        " 'zoned.drives.profiles', 'tomllib', 'secrets'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == "\n"
