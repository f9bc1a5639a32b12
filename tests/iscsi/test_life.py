"""An export's life: what it serves as what, what is left of it behind an interrupt, and the end of one that nobody holds."""

from __future__ import annotations

import gc
import logging
import os
import resource
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

import zoned
from exporting import (
    ends_when_let_go,
    is_closed_or_closable_in_any_gap,
    sockets,
    test_an_interrupt_in_any_gap_leaves_nothing,  # noqa: F401 - by the protocol of this folder
)
from iscsi.initiator import Initiator
from scsi import cdb16
from unit.gaps import Before
from waiting import PATIENCE, until
from zoned.cli.info import _export_lines
from zoned.export import Iscsi, Limits
from zoned.export.login import Login, Offer
from zoned.export.portal import Portal

BLOCK = 4096
Export = Callable[..., Iscsi]


def test_a_disk_in_ram_is_served_readonly(disk: zoned.Device, export: Export) -> None:
    served = export(disk, readonly=True)
    with Initiator(served.address, served.iqn) as host:
        host.ready()
        mode = host.do(bytes([0x1A, 0, 0x3F, 0, 192, 0]), read=192).data
        assert mode[2] & 0x80  # WP
        assert host.do(cdb16(0x8A, 0, 1), data=b"x" * BLOCK).codes == (7, 0x27, 0)
    assert disk.pread(BLOCK, 0) == bytes(BLOCK)
    disk.pwrite(bytes(BLOCK), 0)  # the handle that was given is as it was


def test_urls(disk: zoned.Device, export: Export) -> None:
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = export(
            disk, other, luns=(3, 5), separate=True, chap=("al ice", "a secret of alice")
        )
        first, second = served.targets
        assert (
            served.url == served.url_of(first) == f"iscsi://al%20ice@{served.address}/{first.iqn}/3"
        )
        assert served.url_of(second) == f"iscsi://al%20ice@{served.address}/{second.iqn}/5"


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_amid_the_end_leaves_it_closed_or_closable(disk: zoned.Device) -> None:
    """With an initiator that does not log out: the waiting for it is interrupted, too."""

    def serve(stack: ExitStack) -> Iscsi:
        served = stack.enter_context(zoned.export.iscsi(disk))
        stack.enter_context(Initiator(served.address, served.iqn)).ready()
        return served

    is_closed_or_closable_in_any_gap(serve, 200, grace=0.02)


def test_a_disk_that_fails_to_close_keeps_nothing_else_open(
    disk: zoned.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Before()
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = zoned.export.iscsi(disk, other, separate=True)
        first = next(iter(served.targets[0]._disks.values()))
        close = type(first).close

        def fail(device: zoned.Device) -> None:
            close(device)
            if device is first:
                raise OSError(5, "the host's disk failed")

        monkeypatch.setattr(zoned.Device, "close", fail)
        with pytest.raises(OSError, match="the host's disk failed"):
            served.close(grace=0)
        monkeypatch.undo()
        assert served.closed
    before.check("")


# ---------------------------------------------------------------- nobody holds it


def test_an_export_that_nobody_holds_ends(disk: zoned.Device) -> None:
    before, names = Before(), sockets()
    holder = [zoned.export.iscsi(disk)]
    with Initiator(holder[0].address, holder[0].iqn) as host:
        host.ready()
        assert len(sockets()) == len(names) + 1
        ends_when_let_go(holder)
        assert host.is_gone()
    before.check("")
    assert sockets() == names


def test_it_ends_where_warnings_are_errors(disk: zoned.Device) -> None:
    before = Before()
    told: list[object] = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(sys, "unraisablehook", lambda one: told.append(one.exc_type))
        warnings.simplefilter("error")
        served = zoned.export.iscsi(disk)
        del served
        gc.collect()
    assert told == [ResourceWarning]
    before.check("")


def test_an_export_ends_from_its_own_thread(disk: zoned.Device) -> None:
    """Where the garbage collector happens to come by: amid a login."""
    before = Before()
    served = zoned.export.iscsi(disk)
    done = []
    watched = served.targets[0]._unavailable

    def close_amid(*_: object) -> str:
        served.close(grace=0)
        done.append(True)
        return watched()

    offers = served.targets[0]
    monkey = pytest.MonkeyPatch()
    monkey.setattr(type(offers), "_begin", lambda *_: close_amid() and False)
    try:
        with Initiator(served.address, served.iqn, login=False) as host:
            host.send_login(0x87, host.first_keys())
            until(lambda: done, "it is closed")
            assert host.is_gone()
    finally:
        monkey.undo()
    assert served.closed
    before.check("")


# ---------------------------------------------------------------- what only looks


def test_looking_loads_no_target_and_makes_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, zones=8, zone_size="1MiB").close()
    code = (
        "import sys, runpy\n"
        "sys.argv[1:] = {words!r}\n"
        "try:\n"
        "    runpy.run_module('zoned', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code or {words!r}[1] == 'stop', end.code\n"
        "print(*sorted(name for name in sys.modules if name.startswith('zoned.export')), file=sys.stderr)\n"
    )
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    for words in (["info", str(path)], ["export", "list"], ["export", "stop", "--all"]):
        done = subprocess.run(
            [sys.executable, "-c", code.format(words=words)],
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        loaded = set(done.stderr.splitlines()[-1].split())
        # Devices of killed ublk servers are told of as well.
        assert loaded - {"zoned.export.ublkstate"} == {"zoned.export", "zoned.export.registry"}, (
            words
        )
        assert not (tmp_path / "run").exists(), words


def test_info_tells_of_the_targets_that_serve_its_disk(tmp_path: Path, export: Export) -> None:
    """Not of the others of the same export."""
    paths = [tmp_path / "a.img", tmp_path / "b.img"]
    for path in paths:
        zoned.create(path, zones=8, zone_size="1MiB").close()
    served = export(*paths, separate=True, luns=(2, 3))
    with zoned.open(paths[1], readonly=True) as device:
        lines = [text for _, text in _export_lines(device)]
    assert lines == [
        f"iscsi at {served.address} by pid {os.getpid()}",
        f"LUN 3 of {served.targets[1].iqn}",
    ]


def test_all_public_names_are_there() -> None:
    import zoned.export

    for name in zoned.export.__all__:
        assert getattr(zoned.export, name) is not None
    assert set(zoned.export.__all__) <= set(dir(zoned.export))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = zoned.export.nonsense


# ---------------------------------------------------------------- no descriptors


def test_no_descriptors_for_connections_at_several_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both listening sockets have somebody when there are none: one pause is for both, and both are taken up again."""
    name = "iqn.2026-01.test:disk"
    offers = {name: Offer(name, 1, None, None, lambda: "")}
    portal = Portal(
        ["127.0.0.1:0"] * 2, Limits(), lambda addresses: Login(offers, addresses), lambda *_: False
    )
    hosts = [socket.socket() for _ in portal.addresses]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        for host, address in zip(hosts, portal.addresses, strict=True):
            host.settimeout(PATIENCE)
            host.connect(address)
        with caplog.at_level(logging.WARNING, "zoned.export"):
            portal.start()
            until(lambda: caplog.records, "it says so")
            portal._wake_in.send(b"x")  # and goes on
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for host in hosts:
        host.sendall(b"\xff" * 48)
        assert host.recv(48)[0] == 0x23  # refused, by the login
        host.close()
    portal.stop()
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if "ended by a fault of this program" in text] == []
    assert any("no connection can be taken" in text for text in told)


def test_a_disk_that_is_closed_ends_what_serves_it_first(
    export: Export, disk: zoned.Device
) -> None:
    served = export(disk)
    target = served.targets[0]
    with Initiator(served.address, served.iqn) as host:
        host.ready()
        target._disks[0].close()
        assert target.closed
        assert host.is_gone()
    served.close()
    assert served.closed
