"""What is said of ublk devices without one: where the kernel has none, and of disks and numbers that cannot be.

Devices themselves are tried in the kernel lab (tests/kernel/test_kernel_ublk.py) and without a kernel (tests/native/ublk.c).
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoned
from zoned.export import registry, ublkstate

CONTROL = Path("/dev/ublk-control")
LACKS = "there is no /dev/ublk-control: load the kernel's module by 'modprobe ublk_drv' as root"


@pytest.fixture
def without_ublk(needs: Callable[[str, bool, str], None]) -> None:
    needs("no ublk", not CONTROL.exists(), "what is said where the kernel has none")


@pytest.fixture
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of files of state, of the test's own."""
    monkeypatch.setattr(ublkstate, "_RUN", tmp_path)
    return tmp_path / "zoned"


def export(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoned", "export", "ublk", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, zones=8, zone_size="1MiB", host_sync="never").close()
    return path


@pytest.mark.parametrize("how", [(), ("-d",)], ids=["foreground", "background"])
def test_a_kernel_without_it(without_ublk: None, image: Path, how: tuple[str, ...]) -> None:
    """One sentence, with the way out, and nothing is left."""
    done = export(*how, str(image))
    assert done.returncode == 1
    assert done.stderr.startswith(f"zonedctl: {LACKS}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_nothing_is_left_of_an_attempt(without_ublk: None, image: Path, states: Path) -> None:
    """No thread, no file of state, no open disk; the handle of the caller lives on."""
    before = set(threading.enumerate())
    with zoned.open(image) as disk:
        for _ in range(3):
            with pytest.raises(OSError, match="modprobe ublk_drv"):
                zoned.export.ublk(disk)
        assert len(disk.openers) == 1
        disk.pwrite(bytes(4096), 0)
    assert set(threading.enumerate()) == before
    assert list(states.glob("*")) == []
    with zoned.memory(zones=4, zone_size="1MiB") as ram, pytest.raises(OSError, match="modprobe"):
        zoned.export.ublk(ram)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ({"size": "4.5MiB", "zone_size": "1MiB"}, r"524288 of 1048576 bytes.*--whole-zones"),
        ({"size": "6MiB", "zone_size": "3MiB"}, "power of two"),
        ({"zones": 4, "zone_size": "1MiB", "model": "host-aware"}, "host-aware"),
        ({"zones": 4, "zone_size": "1MiB", "unrestricted_read": False}, "unrestricted reads"),
    ],
)
def test_geometry_is_refused_by_name(shape: dict[str, Any], says: str, states: Path) -> None:
    """Before the kernel is asked for anything, so everywhere."""
    with zoned.memory(**shape) as disk, pytest.raises(zoned.GeometryError, match=says):
        zoned.export.ublk(disk)


def test_whole_zones_leave_the_last_one_out(without_ublk: None, states: Path) -> None:
    with (
        zoned.memory(size="4.5MiB", zone_size="1MiB") as disk,
        pytest.raises(OSError, match="modprobe"),  # which comes behind the geometry
    ):
        zoned.export.ublk(disk, whole_zones=True)


@pytest.mark.parametrize(
    "how",
    [
        {"device": -1},
        {"device": 1 << 20},
        {"queues": 0},
        {"queues": 65},
        {"depth": 1025},
        {"max_io": 4095},
        {"max_io": 5000},
        {"max_io": 8 << 20},
    ],
    ids=str,
)
def test_numbers_out_of_range(how: dict[str, int], states: Path) -> None:
    (name,) = how
    with zoned.memory(zones=4, zone_size="1MiB") as disk, pytest.raises(ValueError, match=name):
        zoned.export.ublk(disk, **how)  # type: ignore[arg-type]


def test_files_that_are_no_state(without_ublk: None, image: Path, states: Path) -> None:
    """Whatever lies in the folder: it is no device, and goes; what a server that lives holds stays."""
    states.mkdir(mode=0o700)
    for number, junk in enumerate(
        (b"", b"x" * 100, os.urandom(8192), b"ZDUBLK\n\0" + b"\xff" * 4096)
    ):
        (states / f"ublk-{number}.state").write_bytes(junk)
    held = ublkstate.State.new()
    assert ublkstate.clean() == []
    assert list(states.glob("*")) == [held.path]
    with zoned.open(image, readonly=True) as disk:
        assert ublkstate.find(image, disk.uuid) is None
    held.remove()
    assert list(states.glob("*")) == []


def test_a_folder_of_somebody_else(states: Path) -> None:
    """Who could write into it could tell of devices that are none."""
    states.mkdir()
    states.chmod(0o777)
    assert list(ublkstate.each()) == []
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        ublkstate.State.new()


def test_names_of_exports() -> None:
    node = {"kind": "ublk", "path": "/dev/ublkb7", "image": None}
    assert registry.names(node) == ["/dev/ublkb7"]
    assert not registry.uses(node, "/nowhere")


def test_servers_begin_one_at_a_time(without_ublk: None, image: Path, states: Path) -> None:
    """Who begins while another one does waits for what comes of it, and looks only then."""
    told: list[BaseException] = []

    def begin() -> None:
        try:
            zoned.export.ublk(image)
        except OSError as error:
            told.append(error)

    with ublkstate.turn():
        second = threading.Thread(target=begin)
        second.start()
        second.join(0.2)
        assert second.is_alive()
        assert told == []
    second.join()
    assert "modprobe ublk_drv" in str(told[0])
    assert list(states.glob("*")) == []


def test_who_keeps_its_turn_is_not_waited_for_without_end(
    without_ublk: None, image: Path, states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ublkstate, "PATIENCE", 0.05)
    with ublkstate.turn(), pytest.raises(OSError, match="has been beginning for 0 s") as told:
        zoned.export.ublk(image)
    assert (told.value.errno, told.value.filename) == (errno.EBUSY, str(states))


def test_who_cleans_up_amid_a_beginning(states: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody held, and took away, before its maker held it is made again."""
    hold, made = ublkstate.State.hold, []

    def late(state: ublkstate.State) -> bool:
        made.append(state.path)
        if len(made) == 1:
            state.path.unlink()
        return hold(state)

    monkeypatch.setattr(ublkstate.State, "hold", late)
    state = ublkstate.State.new()
    assert len(made) == 2
    assert list(states.glob("*")) == [state.path] == made[1:]
    state.remove()
