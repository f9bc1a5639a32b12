"""Login: authentication, negotiation, discovery, who may come in, and whatever else comes."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoned
from iscsi.initiator import Initiator, Pdu, chap_response
from waiting import until
from zoned.export import Chap, Credentials, Iscsi, read_chap_file
from zoned.export.keys import Negotiation, TextError, binary, parse
from zoned.export.login import Login, Offer, State
from zoned.export.portal import Limits, split_address

SECRET, OURS = b"a secret of the initiator", b"a secret of the target's"
USER = ("alice", SECRET.decode())
Export = Callable[..., Iscsi]


@pytest.fixture
def guarded(disk: zoned.Device, export: Export) -> Iscsi:
    return export(disk, chap=USER, mutual=("disk", OURS))


# ---------------------------------------------------------------- authentication


@pytest.mark.parametrize("algorithm", [5, 6, 7, 8], ids=["MD5", "SHA1", "SHA-256", "SHA3-256"])
@pytest.mark.parametrize("mutual", [None, ("disk", OURS)], ids=["one way", "mutual"])
def test_chap(guarded: Iscsi, algorithm: int, mutual: tuple[str, bytes] | None) -> None:
    chap = ("alice", SECRET)
    with Initiator(
        guarded.address, guarded.iqn, chap=chap, algorithm=algorithm, mutual=mutual
    ) as host:
        host.ready()


@pytest.mark.parametrize("chap", [("alice", b"another secret!"), ("bob", SECRET), None])
def test_who_does_not_know_the_secret_stays_out(
    guarded: Iscsi, chap: tuple[str, bytes] | None
) -> None:
    with pytest.raises(PermissionError, match="0201h"):
        Initiator(guarded.address, guarded.iqn, chap=chap)
    assert not guarded.sessions


def test_authentication_cannot_be_passed_over(guarded: Iscsi) -> None:
    """Straight into a later stage, or by saying that it is over."""
    for flags in (0x87, 0x83, 0x81, 0x04):
        with Initiator(guarded.address, guarded.iqn, login=False) as host:
            answer = host.login_pdu(flags, host.first_keys())
            assert answer.raw[36:38] == b"\x02\x01"
            assert host.is_gone()
    with Initiator(guarded.address, guarded.iqn, login=False) as host:
        answer = host.login_pdu(0x81, host.first_keys() | {"AuthMethod": "CHAP"})
        assert answer.flags == 0x00  # no transit
        answer = host.login_pdu(0x83, {"CHAP_A": "7"})
        assert answer.flags == 0x00
        assert "CHAP_C" in host.text(answer)
        answer = host.login_pdu(0x83, {})
        assert answer.flags == 0x00
        answer = host.login_pdu(0x83, {"CHAP_N": "alice", "CHAP_R": "0x" + "00" * 32})
        assert answer.raw[36:38] == b"\x02\x01"


def test_our_challenge_sent_back_proves_nothing(guarded: Iscsi) -> None:
    with Initiator(guarded.address, guarded.iqn, login=False) as host:
        host.login_pdu(0x00, host.first_keys() | {"AuthMethod": "CHAP"})
        found = host.text(host.login_pdu(0x00, {"CHAP_A": "5"}))
        challenge = bytes.fromhex(found["CHAP_C"][2:])
        response = chap_response(5, int(found["CHAP_I"]), SECRET, challenge)
        keys = {"CHAP_N": "alice", "CHAP_R": "0x" + response.hex()}
        answer = host.login_pdu(0x81, keys | {"CHAP_I": "1", "CHAP_C": found["CHAP_C"]})
        assert answer.raw[36:38] == b"\x02\x01"


def test_secrets_that_are_none() -> None:
    with pytest.raises(ValueError, match="12 to 255"):
        Chap({"alice": b"short"})
    with pytest.raises(ValueError, match="must not be"):
        Chap({"alice": SECRET}, Credentials("disk", SECRET))
    assert SECRET.decode() not in repr(Chap({"alice": SECRET}, Credentials("disk", OURS)))


def test_secrets_from_a_file(tmp_path: Path, disk: zoned.Device, export: Export) -> None:
    path = tmp_path / "chap"
    path.write_text(f"# who\nalice {SECRET.hex()}\nmutual disk {OURS.hex()}\n")
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        read_chap_file(path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    served = export(disk, chap=read_chap_file(path))
    chap = ("alice", SECRET.hex().encode())
    with Initiator(
        served.address, served.iqn, chap=chap, mutual=("disk", OURS.hex().encode())
    ) as host:
        host.ready()
    assert served.url.startswith("iscsi://alice@127.0.0.1:")
    path.write_text("alice\n")
    with pytest.raises(ValueError, match="line 1"):
        read_chap_file(path)


# ---------------------------------------------------------------- who, and what


def test_only_named_initiators_come_in(disk: zoned.Device, export: Export) -> None:
    served = export(disk, initiators=["iqn.2026-01.test:*", "iqn.2026-01.org.example:one"])
    for name in ("iqn.2026-01.test:x", "IQN.2026-01.org.example:ONE"):
        with Initiator(served.address, served.iqn, name=name) as host:
            host.ready()
    with pytest.raises(PermissionError, match="0202h"):
        Initiator(served.address, served.iqn, name="iqn.2026-01.org.example:two")
    with Initiator(served.address, None, name="iqn.2026-01.org.example:two") as host:
        assert host.send_targets("All") == []


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"InitiatorName": None}, "0207"),
        ({"TargetName": None}, "0207"),
        ({"TargetName": "iqn.2026-01.test:none"}, "0203"),
        ({"SessionType": "Other"}, "0209"),
        ({"InitiatorName": "nonsense"}, "0200"),
        ({"InitiatorName": "iqn.2026-01.test:" + "x" * 300}, "0200"),
        ({"AuthMethod": "KRB5"}, "0201"),
    ],
)
def test_refused(target: Iscsi, keys: dict[str, str | None], status: str) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        pairs = host.first_keys() | keys
        answer = host.login_pdu(0x81, {key: value for key, value in pairs.items() if value})
        assert answer.raw[36:38].hex() == status
        assert host.is_gone()


def test_a_second_connection_is_refused(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn) as first:
        with Initiator(target.address, target.iqn, login=False) as second:
            answer = second.login_pdu(0x81, second.first_keys(), tsih=first.tsih)
            assert answer.raw[36:38] == b"\x02\x0a"
        first.ready()


def test_sessions_are_bounded(disk: zoned.Device, export: Export) -> None:
    served = export(disk, limits=Limits(sessions=2))
    hosts = [
        Initiator(served.address, served.iqn, isid=bytes([0x80, 0, 0, 0, 0, n])) for n in (1, 2)
    ]
    with pytest.raises(PermissionError, match="0302h"):
        Initiator(served.address, served.iqn, isid=bytes([0x80, 0, 0, 0, 0, 3]))
    for host in hosts:
        host.ready()
        host.close()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:3260"])
def test_outside_addresses_need_chap(disk: zoned.Device, listen: str) -> None:
    with pytest.raises(ValueError, match="no_auth"):
        zoned.export.iscsi(disk, listen=listen)


@pytest.mark.parametrize("listen", ["", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "::1:3260"])
def test_addresses_that_are_none(listen: str) -> None:
    with pytest.raises(ValueError, match=r"address|HOST"):
        split_address(listen)


def test_a_disk_of_other_rules_is_refused() -> None:
    with (
        zoned.memory(zones=8, zone_size="1MiB", dialect="zns") as disk,
        pytest.raises(zoned.GeometryError, match="zbc"),
    ):
        zoned.export.iscsi(disk)


def test_a_port_that_is_taken(target: Iscsi, disk: zoned.Device) -> None:
    with pytest.raises(OSError, match="cannot listen on"):
        zoned.export.iscsi(disk, listen=target.address)


# ---------------------------------------------------------------- discovery


def test_discovery(disk: zoned.Device, export: Export) -> None:
    with zoned.memory(zones=8, zone_size="1MiB") as other:
        served = export(disk, other, separate=True)
        names = [target.iqn for target in served.targets]
        with Initiator(served.address, None, keys={"MaxRecvDataSegmentLength": "512"}) as host:
            assert host.agreed["InitialR2T"] == "Irrelevant"
            found = host.send_targets("All")
            assert [value for key, value in found if key == "TargetName"] == names
            assert ("TargetAddress", f"{served.address},1") in found
            assert len(host.send_targets(names[1])) == 2
            assert host.nop(b"x") == b"x"
            assert host.logout() == 0
            assert host.is_gone()


def test_discovery_with_authentication(disk: zoned.Device, export: Export) -> None:
    served = export(disk, chap=USER, discovery_auth=True)
    with pytest.raises(PermissionError, match="0201h"):
        Initiator(served.address, None)
    with Initiator(served.address, None, chap=("alice", SECRET)) as host:
        assert host.send_targets("All")[0] == ("TargetName", served.iqn)


def test_discovery_sessions_take_no_commands(target: Iscsi) -> None:
    with Initiator(target.address, None) as host:
        host.send(host.header(0x01))
        assert host.receive().opcode == 0x3F
        assert host.is_gone()


# ---------------------------------------------------------------- limits


def test_logins_are_bounded_in_number_and_time(disk: zoned.Device, export: Export) -> None:
    served = export(disk, limits=Limits(logins=8, login_time=1.0))
    silent = [
        socket.create_connection(("127.0.0.1", int(served.address.split(":")[1])))
        for _ in range(40)
    ]
    with Initiator(served.address, served.iqn) as host:  # the oldest silent ones made room
        host.ready()
        for sock in silent:
            sock.settimeout(60)
            assert sock.recv(1) == b""
            sock.close()
        host.do(bytes(6))


def test_text_is_bounded(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        pairs = host.first_keys() | {f"X-{n}": "y" * 200 for n in range(35)}
        for _ in range(2):
            answer = host.login_pdu(0x44, pairs)
            if answer.raw[36]:
                break
        else:
            answer = host.login_pdu(0x44, pairs)
        assert answer.raw[36:38] == b"\x02\x00"
        assert host.is_gone()
    with Initiator(target.address, target.iqn, login=False) as host:
        host.sock.sendall(
            struct.pack(">BB3xI", 0x43, 0x81, 0xFFFFFF)[:5] + b"\xff\xff\xff" + bytes(40)
        )
        assert host.receive().raw[36:38] == b"\x02\x00"


def test_a_login_that_goes_on_for_ever(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        keys = host.first_keys()
        for _ in range(200):
            answer = host.login_pdu(0x04, keys)
            keys = {}
            if answer.raw[36]:
                break
        assert answer.raw[36:38] == b"\x02\x00"


def test_keys_in_several_pdus(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        keys = list(host.first_keys().items())
        assert host.login_pdu(0x44, dict(keys[:1])).data == b""
        answer = host.login_pdu(0x87, dict(keys[1:]))
        host.expect(answer, 0x87)
        assert host.text(answer) == {
            "TargetPortalGroupTag": "1",
            "MaxRecvDataSegmentLength": "262144",
        }


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("HeaderDigest", "Foo,CRC32C,None", "CRC32C"),
        ("DataDigest", "None,CRC32C", "None"),
        ("DataDigest", "Foo", "Reject"),
        ("MaxConnections", "8", "1"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("ErrorRecoveryLevel", "9", "Reject"),
        ("MaxOutstandingR2T", "0x10", "1"),
        ("MaxBurstLength", "16777215", "16777215"),
        ("MaxBurstLength", "511", "Reject"),
        ("FirstBurstLength", "16777215", "262144"),
        ("InitialR2T", "maybe", "Reject"),
        ("DefaultTime2Wait", "20", "20"),
        ("DefaultTime2Retain", "20", "0"),
        ("DataPDUInOrder", "No", "Yes"),
        ("IFMarker", "Yes", "No"),
        ("iSCSIProtocolLevel", "1", "1"),
        ("X-org.example", "what", "NotUnderstood"),
        ("InitiatorAlias", "me", None),
        ("MaxRecvDataSegmentLength", "4096", None),
    ],
)
def test_negotiation(key: str, value: str, said: str | None) -> None:
    assert Negotiation(discovery=False).answer(key, value) == said


def test_a_key_is_negotiated_once() -> None:
    negotiation = Negotiation(discovery=False)
    negotiation.answer("ImmediateData", "No")
    with pytest.raises(TextError, match="twice"):
        negotiation.answer("ImmediateData", "Yes")


# ---------------------------------------------------------------- whatever comes

_KEYS = [
    *("InitiatorName", "TargetName", "SessionType", "AuthMethod", "CHAP_A", "CHAP_N", "CHAP_R"),
    *("CHAP_I", "CHAP_C", "HeaderDigest", "MaxRecvDataSegmentLength", "SendTargets", "X-y"),
]
_VALUES = [
    *("iqn.2026-01.test:host", "iqn.2026-01.test:disk", "Normal", "Discovery", "CHAP", "None"),
    *("5", "5,7", "alice", "0x00ff", "0b////", "All", "", "16777216", "CRC32C,None"),
]
_pairs = st.lists(
    st.tuples(st.sampled_from(_KEYS), st.sampled_from(_VALUES) | st.text(max_size=12)), max_size=6
)
_text = _pairs.map(lambda pairs: "".join(f"{k}={v}\0" for k, v in pairs).encode()) | st.binary(
    max_size=60
)


@st.composite
def _pdus(draw: st.DrawFn) -> bytes:
    raw = bytearray(
        draw(st.binary(min_size=48, max_size=48)) if draw(st.integers(0, 7)) == 0 else bytes(48)
    )
    raw[0] = draw(st.sampled_from([0x43, 0x43, 0x43, 0x43, 0x03, 0x04, 0x06, 0x00, 0x01, 0x3F]))
    raw[1] = draw(st.sampled_from([0x00, 0x81, 0x87, 0x83, 0x04, 0x44, 0x80, 0xC7, 0x0B]))
    text = draw(_text)
    if draw(st.integers(0, 5)):
        raw[4] = 0
        raw[5:8] = len(text).to_bytes(3, "big")
    return bytes(raw) + text + bytes(-len(text) % 4)


def _machine(*, chap: bool) -> Login:
    users = Chap({"alice": SECRET}, Credentials("disk", OURS)) if chap else None
    offer = Offer("iqn.2026-01.test:disk", 1, users, None, lambda: "")
    return Login({offer.name: offer}, lambda: ["127.0.0.1:3260"], users)


@given(st.lists(_pdus() | st.binary(max_size=100), max_size=8), st.booleans(), st.integers(1, 200))
def test_whatever_comes_is_answered_or_refused(pdus: list[bytes], chap: bool, piece: int) -> None:
    """No exception, bounded output, whole PDUs; and nobody without the secret gets anywhere."""
    login = _machine(chap=chap)
    stream = b"".join(pdus)
    for at in range(0, len(stream), piece):
        login.feed(stream[at : at + piece])
        assert len(login.output) <= 200 * len(stream) + 64
    at = 0
    while at < len(login.output):
        pdu = Pdu(bytes(login.output[at : at + 48]), b"")
        assert pdu.opcode in (0x23, 0x24, 0x26, 0x20, 0x3F)
        at += 48 + (int.from_bytes(pdu.raw[5:8], "big") + 3) // 4 * 4
    assert at == len(login.output)
    if chap:
        assert login.state in (State.LOGIN, State.ENDED)


@given(st.binary(max_size=400))
def test_any_text(text: bytes) -> None:
    for function in (parse, lambda raw: binary(raw.decode("latin-1"))):
        with contextlib.suppress(TextError):
            assert function(text) is not None


def test_a_login_cut_anywhere_costs_nothing(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn, login=False) as host:
        whole = bytearray(48)
        whole[0:2] = b"\x43\x81"
        text = b"".join(f"{k}={v}\0".encode() for k, v in host.first_keys().items())
        whole[5:8] = len(text).to_bytes(3, "big")
        stream = bytes(whole) + text
    before = len(os.listdir("/proc/self/fd"))
    for cut in range(0, len(stream), 7):
        sock = socket.create_connection(("127.0.0.1", int(target.address.rpartition(":")[2])))
        sock.sendall(stream[:cut])
        if cut % 2:
            sock.shutdown(socket.SHUT_WR)
        sock.close()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before, "all descriptors are given back")
    with Initiator(target.address, target.iqn) as host:
        host.ready()
