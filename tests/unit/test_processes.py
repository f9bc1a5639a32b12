"""Several processes on one disk: forks, spawned workers, pickled devices, and who has it open."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import zoned
from unit.workers import append_some
from zoned import openers

BLOCK = bytes(4096)


@pytest.fixture(params=["file", "ram"])
def dev(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[zoned.Device]:
    """A disk in a file, and one in RAM."""
    if request.param == "ram":
        device = zoned.memory(max_open=0)
    else:
        device = zoned.create(tmp_path / "disk.img", max_open=0)
    with device:
        yield device


def fork(work: object) -> int:
    """Run work() in a forked child that leaves without clean-up; its exit status."""
    pid = os.fork()
    if pid == 0:
        try:
            assert callable(work)
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_forked_child_goes_on(dev: zoned.Device) -> None:
    dev.append(3, b"p" * 4096)
    start = dev.zones[3].start

    def child() -> None:
        assert dev.pread(4096, start) == b"p" * 4096
        dev.append(3, b"c" * 4096)
        dev.reset_zone(4)
        dev.append(5, b"d" * 4096)
        dev.flush()

    assert fork(child) == 0
    assert dev.pread(8192, start) == b"p" * 4096 + b"c" * 4096
    assert dev.zones[5].written == 4096
    dev.append(3, b"q" * 4096)
    assert dev.zones[3].written == 3 * 4096


def test_a_child_that_closes_leaves_the_parent_its_handle(dev: zoned.Device) -> None:
    def child() -> None:
        dev.append(3, BLOCK)
        dev.close()
        assert dev.closed

    assert fork(child) == 0
    assert not dev.closed
    assert dev.zones[3].written == 4096
    dev.append(3, BLOCK)


def test_a_grandchild(dev: zoned.Device) -> None:
    def child() -> None:
        dev.append(3, BLOCK)
        assert fork(lambda: dev.append(3, BLOCK)) == 0
        dev.append(3, BLOCK)

    assert fork(child) == 0
    assert dev.zones[3].written == 3 * 4096


def test_children_write_at_once(dev: zoned.Device) -> None:
    pids = []
    for zone in (3, 4, 5, 6):
        pid = os.fork()
        if pid == 0:
            append_some(dev, zone, 200)
            os._exit(0)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    for zone in (3, 4, 5, 6):
        assert dev.pread(200 * 4096, dev.zones[zone].start) == bytes([zone]) * 200 * 4096


def test_a_fork_during_a_call_of_another_thread_can_close(tmp_path: Path) -> None:
    """The child has only one thread: its close() must not wait for calls that are not there."""
    dev = zoned.memory(size="1TiB", zone_size="512GiB", conventional=1, data="none")
    target = bytearray(1 << 20)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            dev.preadinto(target, 0)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        while dev._inside == 0:
            pass
        assert fork(dev.close) == 0
    finally:
        stop.set()
        thread.join()
        dev.close()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(dev: zoned.Device, method: str) -> None:
    context = multiprocessing.get_context(method)
    # The executor, not a Pool: it raises when a worker dies, where a Pool waits for ever.
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        landed = list(pool.map(append_some, [dev] * 3, (3, 4, 5), [10] * 3))
    for zone, offsets in zip((3, 4, 5), landed, strict=True):
        start = dev.zones[zone].start
        assert offsets == list(range(start, start + 10 * 4096, 4096))
        assert dev.pread(4096, start) == bytes([zone]) * 4096


def test_pickle_reopens(dev: zoned.Device) -> None:
    dev.append(3, b"x" * 4096)
    for other in (pickle.loads(pickle.dumps(dev)), copy.copy(dev)):
        with other:
            assert other is not dev
            assert other.path == dev.path
            assert other.info().uuid == dev.info().uuid
            assert other.pread(4096, other.zones[3].start) == b"x" * 4096
            other.append(4, b"y" * 4096)
    assert dev.zones[4].written == 8192


def test_pickle_keeps_readonly(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path).close()
    with zoned.open(path, readonly=True) as dev, pickle.loads(pickle.dumps(dev)) as other:
        assert other.readonly


def test_pickle_of_what_is_gone(tmp_path: Path) -> None:
    with zoned.memory() as ram:
        gone = pickle.dumps(ram)
    with pytest.raises(FileNotFoundError, match="the RAM disk is gone"):
        pickle.loads(gone)
    path = tmp_path / "disk.img"
    with zoned.create(path) as dev:
        other = pickle.dumps(dev)
    zoned.create(path, replace=True).close()
    with pytest.raises(ValueError, match="is another disk now"):
        pickle.loads(other)


def test_a_forked_reader_sees_writers_that_come_later(tmp_path: Path) -> None:
    """It read alone, then beside a writer, then alone again in a child: each time what the disk holds."""
    path = tmp_path / "disk.img"
    zoned.create(path, max_open=0).close()
    with zoned.open(path, readonly=True) as reader:
        assert reader.zones[3].written == 0
        with zoned.open(path) as writer:
            writer.append(3, BLOCK)
            assert reader.zones[3].written == 4096

        def child() -> None:
            assert reader.zones[3].written == 4096
            with zoned.open(path) as writer:
                writer.append(3, BLOCK)
                assert reader.zones[3].written == 2 * 4096
                assert reader.pread(8192, reader.zones[3].start) == BLOCK + BLOCK
            assert reader.zones[3].written == 2 * 4096

        assert fork(child) == 0
        assert reader.zones[3].written == 2 * 4096


def test_openers_of_this_process(dev: zoned.Device) -> None:
    found = {opener.pid: opener for opener in dev.openers}
    me = found[os.getpid()]
    assert me.mode == "rw"
    assert me.handles >= 1
    assert "python" in me.command
    assert set(found) == {os.getpid()}


def test_openers_in_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path) as dev:
        code = (
            "import sys, zoned\n"
            "dev = zoned.open(sys.argv[1], readonly=True)\n"
            "print('open', flush=True); sys.stdin.read(); dev.close()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path), "a marker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            modes = {opener.pid: opener.mode for opener in dev.openers}
            assert modes == {os.getpid(): "rw", child.pid: "r"}
            commands = [opener.command for opener in dev.openers if opener.pid == child.pid]
            assert commands[0].endswith("a marker")
            assert f"{child.pid} r " in str(dev.openers)
            child.communicate()
        assert [opener.pid for opener in dev.openers] == [os.getpid()]
    assert len(openers.scan(path)) == 0
    with pytest.raises(FileNotFoundError):
        openers.scan(tmp_path / "none")


def test_openers_tell_what_they_cannot_see() -> None:
    one = openers.Opener(7, "cat disk.img", "r", 1)
    hidden = openers.Openers([one], hidden=2)
    assert not hidden.complete
    assert str(hidden) == (
        "7 r cat disk.img\n(others may be invisible: 2 processes belong to other users)"
    )
    assert hidden[0] == one
    assert hidden[:] == (one,)
    assert openers.Openers([one], hidden=0).complete
