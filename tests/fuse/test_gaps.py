"""KeyboardInterrupt in every gap of a mount's life, and threads that use one while it is unmounted."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
import zonefs
from unit.gaps import Before, descriptors, in_every_gap, threads
from waiting import PATIENCE, until
from zoned import mounts

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # half made


def mounted_at(place: Path) -> bool:
    return mounts.top(os.path.realpath(place)) is not None


def test_every_gap_of_a_mount(disk: str, place: Path) -> None:
    """Whatever was half made: nothing is mounted, no thread and no descriptor is left, the disk is closed."""
    before = Before()

    def call() -> None:
        zonefs.mount(disk, place).unmount()

    def afterwards(where: str) -> None:
        assert not mounted_at(place), where
        before.check(where)
        with zoned.open(disk, readonly=True) as reader:
            assert reader.info().clean, where

    assert in_every_gap(call, afterwards) > 300


def test_every_gap_of_using_one(disk: str, place: Path) -> None:
    """No lock stays behind: the next call works, and it can be unmounted."""
    outside = threads()
    with zonefs.mount(disk, place) as mount:

        def call() -> None:
            assert mount.counters
            assert mount.options
            mount.remount(explicit_open=True)
            mount.wait(0)
            assert mount.mounted
            assert mount.last_error == ""

        def afterwards(where: str) -> None:
            assert mount.mounted, where
            mount.remount(explicit_open=False)
            before.check(where)

        def begun() -> bool:
            """Each worker opens a descriptor of its own; beside them are the mount's, and a watcher without one."""
            return list(descriptors().values()).count("/dev/fuse") == len(threads() - outside)

        call()
        until(begun, "all workers have begun")
        before = Before()
        assert in_every_gap(call, afterwards) > 100


def test_every_gap_of_unmounting(disk: str, place: Path) -> None:
    """An interrupted unmount() is not half done for ever: the next one does the rest."""
    before = Before()
    mounts: list[zonefs.Mount] = []

    def call() -> None:
        mounts[-1].unmount()

    def afterwards(where: str) -> None:
        mounts[-1].unmount()
        assert not mounted_at(place), where
        before.check(where)
        mounts.append(zonefs.mount(disk, place))

    mounts.append(zonefs.mount(disk, place))
    try:
        assert in_every_gap(call, afterwards) > 50
    finally:
        mounts[-1].unmount()


def test_threads_use_what_another_unmounts(disk: str, place: Path) -> None:
    uses: list[Callable[[zonefs.Mount], object]] = [
        lambda mount: (mount.counters, mount.options),
        lambda mount: (mount.last_error, mount.mounted),
        lambda mount: mount.remount(explicit_open=True),
        lambda mount: zonefs.mounting.mount_points(mount._device),
    ]
    for _ in range(8):
        mount = zonefs.mount(disk, place)
        problems: list[BaseException] = []

        def work(
            use: Callable[[zonefs.Mount], object],
            mount: zonefs.Mount = mount,
            problems: list[BaseException] = problems,
        ) -> None:
            try:
                while True:
                    use(mount)
                    if not mount.mounted:
                        return
            except ValueError:  # "was unmounted"
                pass
            except BaseException as error:  # noqa: BLE001 - whatever it was is the finding
                problems.append(error)

        threads = [threading.Thread(target=work, args=(use,), daemon=True) for use in uses]
        for thread in threads:
            thread.start()
        time.sleep(0.01)

        def gone(mount: zonefs.Mount = mount) -> bool:
            with contextlib.suppress(OSError):  # somebody looks at it
                mount.unmount()
                return True
            return False

        until(gone, "it was unmounted")
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread hangs"
        assert problems == []
