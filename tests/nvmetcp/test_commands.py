"""Commands by NVMe/TCP: data in every form it can travel, completions, queues, events, keep alive, reset."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from itertools import product

import pytest

import zoned
from connection import GoneError
from nvmetcp.host import APPEND, BLOCK, FLUSH, READ, WRITE, Host, RefusedError
from waiting import until
from wire.nvme_door import at, entry
from zoned.export import Limits, Nvme

Admin = Callable[..., Host]


@pytest.mark.parametrize(
    ("digests", "align", "flow_control"), list(product(range(4), (0, 31), (False, True)))
)
def test_data_in_every_form(
    admin: Admin, disk: zoned.Device, digests: int, align: int, flow_control: bool
) -> None:
    """In the capsule, by R2T in one piece and in many, back with and without a response of its own."""
    how = {"digests": digests, "align": align, "flow_control": flow_control}
    with admin(**how).io(**how) as host:
        small, large = os.urandom(2 * BLOCK), os.urandom(6 * BLOCK)
        assert host.write(2, 0, small).raw == 0
        assert host.write(2, 2, small, in_capsule=False).raw == 0
        cid = host.give(at(WRITE, 2, 4, 5), large, in_capsule=False)
        assert host.finish(cid, large, segment=5000).raw == 0
        assert host.read(2, 0, 10).data == small + small + large
        assert disk.pread(10 * BLOCK, 0) == small + small + large
        found = host.read(2, 4)
        assert found.data == large[:BLOCK]
        assert len(found.pdus) == (2 if flow_control else 1)
        assert host.do(entry(FLUSH, 2)).raw == 0


def test_an_admin_queue_moves_data_too(admin: Admin) -> None:
    host = admin()
    for where in (True, False):
        assert host.do(entry(0x09, d10=0x0E), struct.pack("<Q", 1234), in_capsule=where).raw == 0
        stamp = host.do(entry(0x0A, d10=0x0E), room=8)
        assert 1234 <= int.from_bytes(stamp.data[:6], "little") < 10**6


def test_zone_commands(host: Host, disk: zoned.Device) -> None:
    data = os.urandom(BLOCK)
    placed = host.do(at(APPEND, 1, 256), data)
    assert (placed.raw, placed.result) == (0, 256)
    assert host.do(at(APPEND, 1, 256), data).result == 257
    assert disk.zones[5].written == 2 * BLOCK
    report = host.do(at(0x7A, 1, 256, 4096 // 4 - 1, 0), room=4096)
    assert int.from_bytes(report.data[:8], "little") == 19
    assert report.data[64:66] == b"\x02\x20"
    assert host.do(at(0x79, 1, 256, d13=4)).raw == 0
    assert host.do(at(WRITE, 1, 300), data).status == 0x1BC
    assert host.read(1, 256).data == bytes(BLOCK)


def test_offsets_into_a_capsule(host: Host) -> None:
    data = os.urandom(3 * BLOCK)
    sqe = bytearray(at(WRITE, 2, 0))
    sqe[24:40] = struct.pack("<QI3xB", BLOCK, BLOCK, 0x01)
    assert host.do(bytes(sqe), data, in_capsule=True).raw == 0
    assert host.read(2, 0).data == data[BLOCK : 2 * BLOCK]


def test_a_gap_before_the_data(host: Host) -> None:
    data = os.urandom(BLOCK)
    assert host.do(at(WRITE, 2, 0), data, gap=20).raw == 0
    assert host.read(2, 0).data == data


def test_the_head_of_the_queue_goes_round(admin: Admin) -> None:
    host = admin(flow_control=True, entries=4)
    before = host.do(entry(0x18)).sqhd
    for step in range(1, 10):
        assert host.do(entry(0x18)).sqhd == (before + step) % 4


def test_many_commands_at_once(admin: Admin) -> None:
    with admin().io(entries=64) as host:
        data = [os.urandom(BLOCK) for _ in range(60)]
        for where, block in enumerate(data):
            host.give(at(WRITE, 2, where), block, in_capsule=bool(where % 2))
        ended = 0
        while ended < len(data):
            pdu = host.receive()
            if pdu.kind == 0x09:
                where = (pdu.half(8) - 2) % 0xFFFF  # CONNECT was the first
                host.send_data(pdu.half(8), pdu.half(10), data[where], 0, BLOCK, last=True)
            else:
                assert pdu.half(22) == 0
                ended += 1
        assert host.read(2, 0, 60).data == b"".join(data)


def test_several_hosts_and_queues(admin: Admin, target: Nvme) -> None:
    first, second = admin(), admin(name="nqn.2026-01.test:other", host_id=bytes(16))
    with first.io(1) as one, first.io(7, digests=3) as two, second.io(1) as three:
        assert one.write(2, 0, b"1" * BLOCK).raw == 0
        assert two.write(2, 1, b"2" * BLOCK).raw == 0
        assert three.read(2, 0, 2).data == b"1" * BLOCK + b"2" * BLOCK
        found = {one.host: one for one in target.controllers}
        assert found["nqn.2026-01.test:host"].queues == 2
        assert found["nqn.2026-01.test:other"].queues == 1
        assert found["nqn.2026-01.test:host"].bytes_in >= 2 * BLOCK
        assert not found["nqn.2026-01.test:host"].header_digest
    until(lambda: sum(one.queues for one in target.controllers) == 0, "the queues end")
    first.close()
    until(lambda: len(target.controllers) == 1, "its controller ends")


def test_a_disconnected_queue_can_be_connected_again(admin: Admin) -> None:
    host = admin()
    queue = host.io(3)
    for _ in range(20):
        assert queue.fabrics(0x08, b"").raw == 0
        again = host.io(3)
        assert queue.is_gone()
        queue.close()
        queue = again
    queue.close()
    assert host.fabrics(0x08, b"").status == 0x101  # not of an admin queue


# ---------------------------------------------------------------- reset, shutdown


def test_a_reset_ends_queues_and_commands(admin: Admin, disk: zoned.Device, target: Nvme) -> None:
    host = admin()
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    host.give(entry(0x0C))  # waits for an event
    with host.io() as queue:
        queue.give(at(READ, 2, 0), room=BLOCK)
        assert host.set(0x14, 0x460060) == 0
        assert queue.is_gone()
    until(lambda: not host.get(0x1C) & 1, "it is no longer ready")
    assert host.do(entry(0x18)).status == 0x0C
    with pytest.raises(RefusedError):
        host.io()
    host.enable()
    disk.faults.clear()
    with host.io() as queue:
        assert queue.read(2, 0).raw == 0
    assert target.controllers[0].under_way == 0


def test_shutdown(admin: Admin) -> None:
    host = admin()
    assert host.set(0x14, 0x464061) == 0
    assert host.get(0x1C) & 0xC == 8


def test_properties(admin: Admin) -> None:
    host = admin(enable=False)
    assert host.get(0x08) == 0x00020000
    assert host.get(0x00) & 0xFFFF == 127
    assert host.get(0x1C) == 0
    assert host.do(entry(0x18)).status == 0x0C  # not enabled
    for value in (0x460001 | 2 << 4, 0x460001 | 1 << 7, 0x460001 | 1 << 11, 0x450001):
        assert host.set(0x14, value) == 2
    assert host.set(0x1C, 1) == 2
    with pytest.raises(RefusedError):
        host.get(0x1000)
    assert host.fabrics(0x00, struct.pack("<B3xIQ", 1, 0x14, 1)).status == 2
    assert host.fabrics(0x55, b"").status == 0x0C
    host.enable()


# ---------------------------------------------------------------- keep alive, events, abort


def test_a_host_that_sends_no_keep_alive_is_dropped(
    admin: Admin, target: Nvme, caplog: pytest.LogCaptureFixture
) -> None:
    host, other = admin(keep_alive=200), admin()
    with host.io() as queue:
        assert host.is_gone()
        until(lambda: ends(queue), "its commands are no sign of life, and end with it")
    assert other.is_served()
    until(lambda: "sent no KEEP ALIVE" in caplog.text, "it is told")


def ends(queue: Host) -> bool:
    try:
        queue.read(2, 0)
    except (GoneError, OSError):
        return True
    return False


def test_keep_alive_keeps_alive(admin: Admin) -> None:
    host = admin(keep_alive=500)
    over = threading.Event()
    for _ in range(4):
        over.wait(0.5)  # all in all longer than timeout and granularity
        assert host.is_served()
    assert host.do(entry(0x09, d10=0x0F, d11=0)).raw == 0  # and off
    over.wait(2.0)
    assert host.is_served()


def test_a_keep_alive_timeout_that_is_set_later(admin: Admin) -> None:
    host = admin()
    assert host.do(entry(0x09, d10=0x0F, d11=100)).raw == 0
    assert host.is_served()
    assert host.is_gone()


def test_an_idle_host_hears_of_zones(admin: Admin, disk: zoned.Device) -> None:
    host = admin()
    assert host.do(entry(0x09, d10=0x0B, d11=1 << 27)).raw == 0
    cid = host.give(entry(0x0C))
    disk.set_condition(7, "read-only")
    event = host.finish(cid)
    assert (event.raw, event.result) == (0, 1 << 32 | 0xBFEF02)
    page = host.do(entry(0x02, 1, d10=0xBF | 1023 << 16), room=4096).data
    assert page[:2] == b"\1\0"
    assert int.from_bytes(page[8:16], "little") == 3 * 256


def test_abort(admin: Admin, disk: zoned.Device) -> None:
    host = admin()
    disk.faults.add("hang", on="read", range=(0, BLOCK))
    with host.io(5) as queue:
        cid = queue.give(at(READ, 2, 0), room=BLOCK)
        waiting = queue.give(at(WRITE, 2, 9), bytes(BLOCK), in_capsule=False)
        assert queue.receive().kind == 0x09
        until(lambda: host.do(entry(0x08, d10=5 | cid << 16)).result == 0, "it is aborted")
        assert queue.finish(cid).status == 7
        # What waits for its data is not the executor's yet.
        assert host.do(entry(0x08, d10=5 | waiting << 16)).result == 1


# ---------------------------------------------------------------- memory


def test_commands_wait_for_memory(disk: zoned.Device, export: Callable[..., Nvme]) -> None:
    served = export(disk, limits=Limits(room=2 << 20))
    with Host(served.address, served.nqn) as host, host.io() as queue:
        data = os.urandom(1 << 20)
        cids = [queue.give(at(WRITE, 2, 256 * k, 255), data, in_capsule=False) for k in range(4)]
        found = [queue.receive() for _ in range(2)]
        assert [pdu.kind for pdu in found] == [9, 9]
        ended = []
        while len(ended) < 4:
            pdu = found.pop(0) if found else queue.receive()
            if pdu.kind == 9:
                queue.send_data(pdu.half(8), pdu.half(10), data, 0, len(data), last=True)
            else:
                assert pdu.half(22) == 0
                ended.append(pdu.half(20))
        assert sorted(ended) == cids
        for k in range(4):
            queue.give(at(READ, 2, 256 * k, 255), room=1 << 20)
        for _ in range(4):
            assert queue.receive().data == data
