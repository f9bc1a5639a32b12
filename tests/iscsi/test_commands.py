"""Commands by iSCSI: data in every form that was negotiated, residuals, sense, digests, several initiators."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

import zoned
from connection import GoneError
from iscsi.initiator import NOBODY, Initiator
from scsi import cdb16, inquiry, report_zones
from waiting import until
from zoned.export import Iscsi

Login = Callable[..., Initiator]
BLOCK = 4096
ZONE = 256  # blocks


def pattern(length: int) -> bytes:
    return bytes(itertools.islice(itertools.cycle(range(251)), length))


def test_a_disk_is_found_and_used(login: Login) -> None:
    host = login()
    host.ready()
    found = host.do(inquiry(), read=255)
    assert found.status == 0
    assert found.data[0] == 0x14
    assert found.data[8:16] == b"ZONED   "
    data = pattern(8 * BLOCK)
    assert host.do(cdb16(0x8A, 4 * ZONE, 8), data=data).status == 0
    assert host.do(cdb16(0x88, 4 * ZONE, 8), read=len(data)).data == data
    assert host.logout() == 0
    assert host.is_gone()


def test_a_broken_rule_comes_with_its_sense(login: Login) -> None:
    host = login()
    host.ready()
    found = host.do(cdb16(0x8A, 4 * ZONE + 3, 1), data=bytes(BLOCK))
    assert (found.status, found.codes) == (2, (5, 0x21, 0x04))  # UNALIGNED WRITE COMMAND


SHAPES = list(
    itertools.product(("Yes", "No"), ("Yes", "No"), ("512", "65536"), ("65536", "262144"))
)


@pytest.mark.parametrize(("r2t", "immediate", "first", "burst"), SHAPES)
def test_data_goes_out_as_it_was_agreed(
    login: Login, r2t: str, immediate: str, first: str, burst: str
) -> None:
    keys = {
        "InitialR2T": r2t,
        "ImmediateData": immediate,
        "FirstBurstLength": first,
        "MaxBurstLength": burst,
    }
    host = login(keys=keys)
    host.ready()
    assert {key: host.agreed[key] for key in keys} == keys
    length = 75 * BLOCK
    data = pattern(length)
    found = host.do(cdb16(0x8A, 0, 75), data=data)
    assert found.status == 0
    assert found.residual == 0
    given = min(int(first), length) if r2t == "No" else 0
    if immediate == "Yes" and r2t == "Yes":
        given = min(int(first), 8192)
    asked, at = [], given
    while at < length:
        asked.append((at, min(int(burst), length - at)))
        at += asked[-1][1]
    assert found.r2ts == asked
    assert host.do(cdb16(0x88, 0, 75), read=length).data == data


@pytest.mark.parametrize(
    ("segment", "burst"), [(512, 512), (4096, 6144), (8192, 65536), (262144, 262144)]
)
def test_data_comes_in_pieces_that_were_agreed(login: Login, segment: int, burst: int) -> None:
    host = login(
        keys={
            "MaxRecvDataSegmentLength": str(segment),
            "MaxBurstLength": str(burst),
            "FirstBurstLength": "512",
        }
    )
    host.ready()
    data = pattern(20 * BLOCK)
    assert host.do(cdb16(0x8A, 0, 20), data=data).status == 0
    found = host.do(cdb16(0x88, 0, 20), read=len(data))
    assert found.data == data
    assert all(len(pdu.data) <= segment for pdu in found.pdus)
    assert [pdu.word(36) for pdu in found.pdus] == list(range(len(found.pdus)))
    sequence = 0
    for pdu in found.pdus:
        sequence += len(pdu.data)
        assert sequence <= burst
        if pdu.flags & 0x80:
            sequence = 0
    assert found.pdus[-1].flags & 0x81 == 0x81  # the status comes with the last data
    assert found.pdus[-1].opcode == 0x25


@pytest.mark.parametrize(
    ("blocks", "expected", "residual"),
    [(1, 4096, 0), (1, 8192, -4096), (2, 4096, 4096), (0, 512, -512)],
)
def test_residuals(login: Login, blocks: int, expected: int, residual: int) -> None:
    host = login()
    host.ready()
    found = host.do(cdb16(0x88, 0, blocks), read=expected)
    assert (found.status, found.residual) == (0, residual)
    assert len(found.data) == min(expected, blocks * BLOCK)
    found = host.do(cdb16(0x8A, 0, blocks), data=bytes(expected))
    assert (found.status, found.residual) == (0, residual)


def test_no_more_is_asked_for_than_the_command_takes(login: Login) -> None:
    host = login(keys={"InitialR2T": "Yes", "ImmediateData": "No"})
    host.ready()
    found = host.do(cdb16(0x8A, 0, 1), data=bytes(BLOCK), write=1 << 30)
    assert found.r2ts == [(0, BLOCK)]
    assert (found.status, found.residual) == (0, BLOCK - (1 << 30))
    found = host.do(b"\xff" + bytes(15), data=bytes(BLOCK))  # no such command: nothing is asked for
    assert found.r2ts == []
    assert found.codes == (5, 0x20, 0)


@pytest.mark.parametrize(
    ("bits", "length"), [(0x10, 4), (0x30, 8)], ids=["short header", "long header"]
)
def test_a_format_takes_its_parameter_list(login: Login, bits: int, length: int) -> None:
    host = login()
    host.ready()
    for lba in (0, 4 * ZONE):
        assert host.do(cdb16(0x8A, lba, 1), data=pattern(BLOCK)).status == 0
    found = host.do(bytes([0x04, bits, 0, 0, 0, 0]), data=bytes(length))
    assert (found.status, found.residual) == (0, 0)
    for lba in (0, 4 * ZONE):
        assert host.do(cdb16(0x88, lba, 1), read=BLOCK).data == bytes(BLOCK)
    assert host.do(cdb16(0x8A, 4 * ZONE, 1), data=pattern(BLOCK)).status == 0, "the zone is empty"


@pytest.mark.parametrize("surplus", [1, BLOCK, 1 << 20])
def test_data_that_nobody_asks_for_counts(login: Login, surplus: int) -> None:
    """COMPARE AND WRITE and WRITE SAME have one length of data: by more of it the initiator means something else."""
    host = login()
    host.ready()
    swap = bytes([0x89, 0]) + bytes(8) + bytes([0, 0, 0, 1, 0, 0])
    same = cdb16(0x93, 0, 2)
    for cdb, length in ((swap, 2 * BLOCK), (same, BLOCK)):
        data = bytes(length) + b"x" * surplus
        assert host.do(cdb, data=data).codes == (5, 0x24, 0x00)
        assert host.do(cdb, data=bytes(length)).status == 0
    nothing = bytes([0x89, 0]) + bytes(14)
    assert host.do(nothing, data=bytes(surplus)).codes == (5, 0x24, 0x00), "256 blocks are not 0"


def test_huge_lengths_cost_nothing(login: Login) -> None:
    host = login()
    host.ready()
    assert host.do(inquiry(), read=NOBODY).residual < 0
    found = host.do(cdb16(0x88, 0, NOBODY), read=NOBODY)
    assert found.status == 2
    found = host.do(cdb16(0x88, 2**64 - 1, 2), read=2 * BLOCK)
    assert found.codes[:2] == (5, 0x21)
    assert len(host.do(report_zones(allocation=NOBODY), read=NOBODY).data) == 64 * 25


@pytest.mark.parametrize("header", ["None", "CRC32C"])
@pytest.mark.parametrize("data", ["None", "CRC32C"])
def test_digests(login: Login, target: Iscsi, header: str, data: str) -> None:
    host = login(keys={"HeaderDigest": header, "DataDigest": data})
    host.ready()
    (session,) = target.sessions
    assert (session.header_digest, session.data_digest) == (header != "None", data != "None")
    written = pattern(3 * BLOCK)
    assert host.do(cdb16(0x8A, 0, 3), data=written).status == 0
    assert host.do(cdb16(0x88, 0, 3), read=len(written)).data == written
    assert host.nop(b"hello") == b"hello"  # padded
    assert host.do(cdb16(0x88, 0, 5)[:15] + b"\1", read=5 * BLOCK).status in (0, 2)
    assert host.do(bytes([0x7F]) + bytes(31)).codes == (5, 0x20, 0)  # additional header segment


def test_several_units(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = export(disk, other, luns=(1, 7))
        with Initiator(served.address, served.iqn) as host:
            luns = host.do(
                bytes([0xA0]) + bytes(5) + (256).to_bytes(4, "big") + bytes(2), read=256
            ).data
            assert [luns[at + 1] for at in range(8, len(luns), 8)] == [1, 7]
            assert host.do(bytes(6), lun=7).codes[0] == 6
            assert host.do(cdb16(0x88, 0, 1), lun=3, read=BLOCK).codes == (5, 0x25, 0)
            assert host.do(inquiry(), lun=3, read=255).data[0] == 0x7F


def test_several_targets_by_one_portal(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = export(disk, other, separate=True)
        first, second = served.targets
        with Initiator(served.address, second.iqn) as host:
            until(lambda: second.sessions, "a session of the second target")
            assert not first.sessions
            assert host.send_targets("") == [
                ("TargetName", second.iqn),
                ("TargetAddress", f"{served.address},1"),
            ]
            assert host.send_targets(first.iqn) == []
            assert host.send_targets("All") == [("SendTargets", "Reject")]


def test_what_one_initiator_does_the_others_see(login: Login, disk: zoned.Device) -> None:
    one, two = login(name="iqn.2026-01.test:one"), login(name="iqn.2026-01.test:two")
    one.ready()
    two.ready()
    assert one.do(cdb16(0x8A, 5 * ZONE, 1), data=b"\1" * BLOCK).status == 0
    assert two.do(cdb16(0x88, 5 * ZONE, 1), read=BLOCK).data == b"\1" * BLOCK
    assert disk.report()[5].wp == disk.report()[5].start + BLOCK


def test_a_reservation_goes_with_its_holder(login: Login) -> None:
    """Nothing of a session is left once its logout is answered."""
    two = login(name="iqn.2026-01.test:two")
    two.ready()
    for _ in range(100):
        one = login(name="iqn.2026-01.test:one")
        one.ready()
        assert one.do(bytes([0x16]) + bytes(5)).status == 0  # RESERVE
        assert two.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0x18
        one.logout()
        assert two.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0


def test_sessions_tell_who_and_how_much(login: Login, target: Iscsi) -> None:
    host = login()
    host.ready()
    host.do(cdb16(0x8A, 0, 2), data=bytes(2 * BLOCK))
    host.do(cdb16(0x88, 0, 1), read=BLOCK)
    (session,) = target.sessions
    assert session.initiator == host.name
    assert session.isid == host.isid.hex()
    assert session.tsih == host.tsih != 0
    assert (session.commands, session.bytes_in, session.bytes_out) == (4, 2 * BLOCK, BLOCK)
    assert (session.errors, session.rejects, session.under_way) == (1, 0, 0)


def test_many_commands_at_once(login: Login) -> None:
    host = login()
    host.ready()
    window = host.max_cmd_sn - host.exp_cmd_sn + 1
    assert window == 128
    tags = [host.command(cdb16(0x88, at, 1), read=BLOCK) for at in range(window)]
    for tag in tags:
        assert host.finish(tag).status == 0
    assert host.max_cmd_sn - host.exp_cmd_sn + 1 == window


@pytest.mark.parametrize("digests", ["None", pytest.param("CRC32C", marks=pytest.mark.plain)])
def test_what_was_read_is_as_it_was_while_it_waits_to_be_sent(
    login: Login, target: Iscsi, disk: zoned.Device, digests: str
) -> None:
    """Long reads of zones that are written once are sent from where they lie, but nothing of the disk waits for a host
    that takes no answers.
    """
    mib = ZONE * BLOCK
    disk.pwrite(old := pattern(mib), 5 * mib)
    slow = login(keys={"DataDigest": digests})
    slow.ready()
    tags = [slow.command(cdb16(0x88, 5 * ZONE, ZONE), read=mib) for _ in range(40)]

    until(lambda: sum(session.bytes_out for session in target.sessions), "it answers the first")
    disk.reset_zone(5)
    disk.flush()

    def kept() -> int:
        told = disk.info()
        return told.slots_used + told.slots_pending

    until(lambda: not kept(), "nothing is kept of the zone that was reset")
    disk.pwrite(new := pattern(mib)[::-1], 5 * mib)
    found = [slow.finish(tag).data for tag in tags]
    assert sorted(found, key=[old, bytes(mib), new].index) == found
    assert found.count(old) and found.count(new)


def test_a_session_logs_in_again(login: Login, target: Iscsi) -> None:
    """Session reinstatement: the same port of the same initiator takes the place of its older session."""
    old = login(isid=b"\x80\0\0\0\0\7")
    old.ready()
    waiting = old.command(cdb16(0x8A, 0, 16), data=bytes(65536), immediate_data=0, unsolicited=4096)
    new = login(isid=b"\x80\0\0\0\0\7")
    assert old.is_gone()
    assert waiting
    new.ready()
    assert [session.tsih for session in target.sessions] == [new.tsih]
    assert new.tsih != old.tsih
    another = login(isid=b"\x80\0\0\0\0\x08")
    another.ready()
    assert len(target.sessions) == 2


def test_a_clean_stop_asks_initiators_to_leave(login: Login, target: Iscsi) -> None:
    import threading

    host = login()
    host.ready()
    stopping = threading.Thread(target=target.close)
    stopping.start()
    pdu = host.receive()
    assert (pdu.opcode, pdu.raw[36]) == (0x32, 1)
    assert pdu.word(40) & 0xFFFF == 3  # seconds
    assert host.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0  # what is under way is still served
    assert host.logout() == 0
    stopping.join()
    assert host.is_gone()
    with pytest.raises(OSError):
        Initiator(target.address, target.iqn)


def test_power(login: Login, target: Iscsi, disk: zoned.Device) -> None:
    """A power cut drops the connection as a dead disk would, and the initiator comes back after power on."""
    host = login()
    host.ready()
    disk.power_cut()
    host.command(cdb16(0x88, 0, 1), read=BLOCK)
    assert host.is_gone()
    with pytest.raises(PermissionError, match="0301h"):
        login()
    disk.power_on()
    again = login()
    again.ready()
    assert again.do(cdb16(0x88, 0, 1), read=BLOCK).status == 0


IDLE = {
    "a command that needs no medium": lambda host: host.command(inquiry(), read=255),
    "a command of the medium": lambda host: host.command(cdb16(0x88, 0, 1), read=BLOCK),
    "a sign of life": lambda host: host.send(host.header(0x00, second=NOBODY, immediate=True)),
}


@pytest.mark.parametrize("how", ["off", "off and on", "cycled"])
@pytest.mark.parametrize("what", IDLE)
def test_power_that_goes_while_a_session_is_idle(
    login: Login, target: Iscsi, disk: zoned.Device, what: str, how: str
) -> None:
    """It ends by whatever comes next, also when the power is back by then."""
    host = login()
    host.ready()
    if how == "cycled":
        disk.power_cycle()
    else:
        disk.power_cut()
    if how == "off and on":
        disk.power_on()
    IDLE[what](host)
    assert host.is_gone()
    if how == "off":
        disk.power_on()
    until(lambda: not target.sessions, "the session ends")
    login().ready()


def test_power_that_goes_while_nobody_says_anything(
    disk: zoned.Device, export: Callable[..., Iscsi]
) -> None:
    """When it would be asked for a sign of life, it is dropped instead."""
    served = export(disk, limits=zoned.export.Limits(idle=0.05, stall=1000))
    with Initiator(served.address, served.iqn) as host:
        ping = host.receive()
        disk.power_cut()
        host.send(host.header(0x00, itt=NOBODY, second=ping.ttt, immediate=True))
        assert host.is_gone()
        disk.power_on()
    served = export(disk, limits=zoned.export.Limits(idle=0.5, stall=1000))
    with Initiator(served.address, served.iqn) as host:
        host.ready()
        disk.power_cut()
        with pytest.raises(GoneError):  # without a ping
            host.receive()


def test_power_of_one_unit_of_several(disk: zoned.Device, export: Callable[..., Iscsi]) -> None:
    """Commands of the others go on until the target is asked whether it lives."""
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = export(disk, other)
        with Initiator(served.address, served.iqn) as host:
            assert host.do(bytes(6), lun=1).codes[0] == 6
            disk.power_cut()
            assert host.do(bytes(6), lun=1).status == 0
            host.send(host.header(0x00, second=NOBODY, immediate=True))
            assert host.is_gone()
