"""Closing: calls under way end first, later ones are refused, nothing is freed twice, nothing
leaks.
"""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE

BLOCK = bytes(4096)


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "default", "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(zoned.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_every_call_on_a_closed_device_says_so() -> None:
    dev = zoned.memory()
    counters, zones, report = dev.counters, dev.zones, dev.report(condition="empty")
    assert not dev.closed
    dev.close()
    dev.close()
    assert dev.closed
    calls: list[Callable[[], object]] = [
        lambda: dev.pread(4096, 0),
        lambda: dev.preadinto(bytearray(4096), 0),
        lambda: dev.pwrite(BLOCK, 0),
        lambda: dev.pwritev([BLOCK], 0),
        lambda: dev.append(3, BLOCK),
        dev.flush,
        lambda: dev.open_zone(3),
        lambda: dev.close_zone(3),
        lambda: dev.finish_zone(3),
        lambda: dev.reset_zone(3),
        dev.open_all,
        dev.close_all,
        dev.finish_all,
        dev.reset_all,
        lambda: dev.set_condition(3, "offline"),
        dev.power_cycle,
        lambda: dev.zones[3],
        lambda: zones[3],
        lambda: list(report),
        lambda: len(report),
        lambda: dev.counters,
        lambda: counters.zone(3),
        lambda: dev.limits,
        dev.info,
        lambda: dev.openers,
        dev.__reduce__,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^the device is closed$"):
            call()
    assert dev.geometry.nr_zones == 16
    assert "closed" in repr(dev)


def test_with_closes_even_after_an_error() -> None:
    with pytest.raises(KeyError), zoned.memory() as dev:
        raise KeyError
    assert dev.closed


def test_close_waits_for_calls_in_other_threads() -> None:
    """One thread finishes half a million zones; close() comes in the middle and must not cut it."""
    count = 1 << 19
    dev = zoned.memory(size=count * 4096, zone_size=4096, conventional=0, max_open=0, data="none")
    result: list[object] = []

    def work() -> None:
        try:
            dev.finish_zone(0, count)
            result.append("done")
        except BaseException as exc:  # noqa: BLE001 - whatever it was is the finding
            result.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    while dev._inside == 0 and thread.is_alive():
        pass
    dev.close()
    assert dev._inside == 0
    thread.join()
    assert result == ["done"]


def test_threads_hammer_while_one_closes() -> None:
    for _ in range(30):
        dev = zoned.memory(size="64GiB", zone_size="4GiB", max_open=0, data="none")
        start = threading.Barrier(5)
        problems: list[BaseException] = []

        def work(
            zone: int,
            dev: zoned.Device = dev,
            start: threading.Barrier = start,
            problems: list[BaseException] = problems,
        ) -> None:
            buffer = bytearray(4096)
            start.wait()
            try:
                while True:
                    dev.append(zone, BLOCK)
                    dev.preadinto(buffer, zone << 32)
                    dev.zones[zone].wp  # noqa: B018 - the look is the test
            except ValueError as exc:
                if "closed" not in str(exc):
                    problems.append(exc)
            except BaseException as exc:  # noqa: BLE001
                problems.append(exc)

        threads = [threading.Thread(target=work, args=(zone,)) for zone in range(3, 7)]
        for thread in threads:
            thread.start()
        start.wait()
        dev.pread(4096, 0)
        closers = [threading.Thread(target=dev.close) for _ in range(2)]
        for thread in closers:
            thread.start()
        dev.close()
        for thread in threads + closers:
            thread.join()
        assert problems == []
        assert dev.closed


def test_threads_append_to_one_zone_without_loss() -> None:
    with zoned.memory(size="256MiB", zone_size="64MiB") as dev:
        landed: list[list[int]] = [[] for _ in range(4)]

        def work(number: int) -> None:
            data = bytes([number]) * 4096
            for _ in range(1000):
                landed[number].append(dev.append(3, data))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        start = dev.zones[3].start
        assert sorted(itertools.chain.from_iterable(landed)) == list(
            range(start, start + 4000 * 4096, 4096)
        )
        for number, offsets in enumerate(landed):
            assert offsets == sorted(offsets)
            assert all(dev.pread(4096, at) == bytes([number]) * 4096 for at in offsets)


def test_a_forgotten_device_warns_and_closes() -> None:
    dev = zoned.memory()
    gone = weakref.ref(dev)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del dev
        gc.collect()
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert str(warning.message).startswith("unclosed <zoned.Device in RAM, 64 MiB")
    del warning
    caught.clear()  # a warning keeps its source alive
    gc.collect()
    assert gone() is None


def test_descriptors_do_not_leak(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(50):
        zoned.open(path).close()
        zoned.memory().close()
        with pytest.raises(FileExistsError):
            zoned.create(path)
        with pytest.raises(zoned.GeometryError):
            zoned.memory(size=1)
    assert descriptors() == before


def test_the_exit_of_the_interpreter_closes(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    done = run(
        "import sys, zoned\n"
        "dev = zoned.create(sys.argv[1])\n"
        "dev.append(3, bytes(8192))\n"
        "cycle = [dev]; cycle.append(cycle)\n",
        str(path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    with zoned.open(path) as dev:
        assert dev.info().clean
        assert dev.zones[3].written == 8192


def test_exit_with_daemon_threads_inside_calls() -> None:
    done = run(
        "import threading, time, zoned\n"
        "dev = zoned.memory(max_open=0)\n"
        "go = threading.Barrier(4)\n"
        "def work(zone):\n"
        "    go.wait()\n"
        "    try:\n"
        "        while True:\n"
        "            dev.append(zone, bytes(4096))\n"
        "            dev.reset_zone(zone)\n"
        "    except ValueError:\n"
        "        pass\n"
        "for zone in (3, 4, 5):\n"
        "    threading.Thread(target=work, args=(zone,), daemon=True).start()\n"
        "go.wait()\n"
        "time.sleep(0.05)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_an_object_that_was_never_attached() -> None:
    from zoned._fast import Core, Guard

    core = Core()
    assert core.closed
    core.close()
    with pytest.raises(ValueError, match="the device is closed"):
        core.pread(1, 0)
    with pytest.raises(ValueError, match="the device is closed"), Guard(core):
        pass
    with pytest.raises(TypeError, match="takes a Core"):
        Guard(3)  # type: ignore[arg-type]


def test_the_quick_calls_are_a_module_of_the_package() -> None:
    done = run(
        "import zoned._core.native\n"
        "import zoned._fast, zoned._native\n"
        "print(zoned._fast.Core.__module__, zoned._fast.__file__ == zoned._native.__file__)\n"
    )
    assert (done.stdout, done.stderr) == ("zoned._fast True\n", "")


def test_zoned_refuses_a_second_interpreter() -> None:
    done = run(
        "import sys\n"
        "if sys.version_info >= (3, 13):\n"
        "    import _interpreters\n"
        "    print(_interpreters.exec(_interpreters.create(), 'import zoned._core.native').msg)\n"
        "else:\n"
        "    import _xxsubinterpreters as sub\n"
        "    try:\n"
        "        sub.run_string(sub.create(), 'import zoned._core.native')\n"
        "    except sub.RunFailedError as exc:\n"
        "        print(exc)\n"
    )
    assert "zoned works in the main interpreter only" in done.stdout
