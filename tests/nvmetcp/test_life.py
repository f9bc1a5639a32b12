"""An export's life: what it serves as what, and what is left of it behind an interrupt, wherever that came."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import pytest

import zoned
from exporting import (
    ends_when_let_go,
    is_closed_or_closable_in_any_gap,
    sockets,
    test_an_interrupt_in_any_gap_leaves_nothing,  # noqa: F401 - by the protocol of this folder
)
from nvmetcp.host import BLOCK, Host
from unit.gaps import Before
from waiting import PATIENCE, until
from wire.nvme_door import at, entry
from zoned.export import Nvme

Export = Callable[..., Nvme]


def test_a_disk_in_ram_is_served_readonly(disk: zoned.Device, export: Export) -> None:
    served = export(disk, readonly=True)
    with Host(served.address, served.nqn) as admin, admin.io() as host:
        assert host.write(2, 0, b"x" * BLOCK).status == 0x20
        assert host.read(2, 0).data == bytes(BLOCK)
    disk.pwrite(b"y" * BLOCK, 0)  # the handle that was given is as it was


def test_several_disks(disk: zoned.Device, export: Export) -> None:
    with zoned.memory(zones=8, zone_size="1MiB", dialect="zns") as other:
        served = export(disk, other, nqn="nqn.2026-01.test:two")
        assert served.targets[0].namespaces == {1: None, 2: None, 3: None}
        with Host(served.address, served.nqn) as admin, admin.io() as host:
            page = admin.identify(2).data
            assert page[:16] == b"\1\0\0\0\2\0\0\0\3\0\0\0" + bytes(4)
            assert host.do(at(0x7D, 3, 0), b"3" * BLOCK).raw == 0
        assert other.pread(BLOCK, 0) == b"3" * BLOCK
        apart = export(disk, other, nqn="nqn.2026-01.test:x", separate=True)
        assert [one.nqn for one in apart.targets] == [
            "nqn.2026-01.test:x-0",
            "nqn.2026-01.test:x-1",
        ]
        assert apart.url_of(apart.targets[1]) == f"nvme+tcp://{apart.address}/nqn.2026-01.test:x-1"


def test_settings_that_cannot_be(disk: zoned.Device) -> None:
    before = Before()
    for how, sentence in (
        ({"nqn": "iqn.2026-01.test:x"}, "is no NQN"),
        ({"nqn": "nqn.2014-08.org.nvmexpress.discovery"}, "is no NQN"),
        ({"hosts": [""]}, "is no NQN of a host"),
        ({"listen": "0.0.0.0:0"}, "give dhchap, or no_auth"),
        ({"listen": []}, "no address"),
        ({"dhchap": "secret"}, "DHHC-1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            zoned.export.nvme(disk, **how)
    with pytest.raises(ValueError, match="no disk"):
        zoned.export.nvme()
    with zoned.memory(zones=8, zone_size="1MiB") as zbc, pytest.raises(zoned.GeometryError):
        zoned.export.nvme(zbc)
    with pytest.raises(ValueError, match="twice"):
        zoned.export.nvme(disk, disk, separate=True)
    before.check("")


# ---------------------------------------------------------------- interrupts


def test_an_interrupt_amid_the_end_leaves_it_closed_or_closable(disk: zoned.Device) -> None:
    """With a host that has commands under way."""

    def serve(stack: ExitStack) -> Nvme:
        served = stack.enter_context(zoned.export.nvme(disk))
        admin = stack.enter_context(Host(served.address, served.nqn))
        admin.give(entry(0x0C))
        disk.faults.add("hang", on="read", range=(0, BLOCK))
        stack.enter_context(admin.io()).give(at(0x02, 2, 0), room=BLOCK)
        stack.callback(disk.faults.clear)
        return served

    is_closed_or_closable_in_any_gap(serve, 100)


def test_an_export_that_nobody_holds_ends(disk: zoned.Device) -> None:
    before, names = Before(), sockets()
    holder = [zoned.export.nvme(disk)]
    with Host(holder[0].address, holder[0].nqn) as admin, admin.io() as host:
        assert len(sockets()) == len(names) + 1
        ends_when_let_go(holder)
        assert admin.is_gone()
        assert host.is_gone()
    before.check("")
    assert sockets() == names


def test_the_disk_that_was_given_may_be_closed_first(disk: zoned.Device, export: Export) -> None:
    served = export(disk)
    with Host(served.address, served.nqn) as admin, admin.io() as host:
        disk.close()
        assert host.write(2, 0, bytes(BLOCK)).raw == 0


FORKS = """
import os, sys, zoned
with zoned.memory(zones=4, zone_size="1MiB", dialect="zns") as disk:
    with zoned.export.nvme(disk) as served:
        child = os.fork()
        if not child:
            try:
                served.close()
            except RuntimeError:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert not served.closed
    assert served.closed
"""


def test_a_forked_child_has_no_part_in_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_close_ends_hosts_and_hangs(disk: zoned.Device, export: Export) -> None:
    served = export(disk)
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    with Host(served.address, served.nqn) as admin, admin.io() as host:
        host.give(at(0x02, 2, 0), room=BLOCK)
        until(lambda: served.controllers[0].under_way == 1, "it is under way")
        served.close()
        assert host.comes_to_an_end()
        assert admin.is_gone()
    disk.faults.clear()
