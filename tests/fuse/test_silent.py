"""A mount of this process that is busy or does not answer, and a fusermount3 that never ends: no call waits on."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.tools import direct_write, error_of
from waiting import PATIENCE, until
from zoned import mounts
from zonefs import attach

BLOCK = 4096
WRITERS = 9


def test_hanging_writes_do_not_keep_it_from_answering(disk, place):
    with zonefs.mount(disk, place, workers=1) as mount, zoned.open(disk) as other:
        with other.faults.add("hang", on="write") as rule:
            threads = [
                threading.Thread(
                    target=direct_write, args=(place / f"seq/{number}", bytes(BLOCK), 0)
                )
                for number in range(WRITERS)
            ]
            for thread in threads:
                thread.start()
            until(lambda: rule.waiting >= 2, "writes hang")
            assert mount.counters.nr_wro_seq_files > 0
            mount.remount(errors="repair")
            assert mount.options.errors == "repair"
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert mount.counters.nr_wro_seq_files == 0


def test_a_kernel_that_never_answers_is_given_up(disk, place, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(mounts, "PATIENCE", 0.2)
    with zonefs.mount(disk, place) as mount, monkeypatch.context() as patch:
        patch.setattr(os, "getxattr", lambda *_: answer.wait(PATIENCE))
        try:
            for call in (lambda: mount.counters, lambda: mount.remount(errors="repair")):
                with pytest.raises(OSError, match="this process, which serves it") as caught:
                    call()
                assert caught.value.errno == errno.ETIMEDOUT
        finally:
            answer.set()


def test_a_helper_that_never_ends_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    helper = tmp_path / attach.HELPER
    helper.write_text("#!/bin/sh\nexec sleep 1000\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(attach, "HELPER_PATIENCE", 0.2)
    with pytest.raises(OSError, match=r"/mnt: fusermount3 did not end within") as caught:
        attach._run_helper(["-u", "--", "/mnt"])
    assert caught.value.errno == errno.ETIMEDOUT
    assert error_of(attach._run_helper, ["-u", "--", "/mnt"]) == errno.ETIMEDOUT
