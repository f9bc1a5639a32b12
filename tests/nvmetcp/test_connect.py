"""The beginning of a connection: ICReq, CONNECT, discovery, DH-HMAC-CHAP."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

import zoned
from nvmetcp.host import DISCOVERY, HOST, Host, Proof, RefusedError, TerminatedError, secret
from waiting import until
from wire.nvme_door import entry
from zoned.export import DhChap, DhSecret, Limits, Nvme
from zoned.export.dhchap import GROUPS, HASHES, prime

Export = Callable[..., Nvme]
KEY, OWN = bytes(range(32)), bytes(range(100, 132))


# ---------------------------------------------------------------- ICReq


@pytest.mark.parametrize(
    ("raw", "status", "information"),
    [
        (struct.pack("<BBBBIHBB", 0, 0, 128, 0, 128, 1, 0, 0).ljust(128, b"\0"), 6, 8),
        (struct.pack("<BBBBIHBB", 0, 0, 128, 0, 128, 0, 32, 0).ljust(128, b"\0"), 1, 10),
        (struct.pack("<BBBBI", 0, 0, 128, 0, 200), 1, 4),
        (struct.pack("<BBBBI", 0, 0, 127, 0, 128), 1, 2),
        (struct.pack("<BBBBI", 4, 0, 72, 0, 72), 2, 0),
        (struct.pack("<BBBBI", 0x42, 0, 72, 0, 72), 1, 0),
        (b"GET / HTTP/1.1\r\n\r\n", 1, 0),
    ],
)
def test_what_is_no_beginning(target: Nvme, raw: bytes, status: int, information: int) -> None:
    with Host(target.address, None) as host:
        host.sock.sendall(raw)
        with pytest.raises(TerminatedError) as told:
            host.receive()
        assert (told.value.status, told.value.information) == (status, information)
        assert host.is_gone()


def test_a_second_beginning(target: Nvme) -> None:
    with Host(target.address, None) as host:
        host.begin()
        with pytest.raises(TerminatedError) as told:
            host.begin()
        assert told.value.status == 2


def test_one_that_does_not_finish_is_dropped(disk: zoned.Device, export: Export) -> None:
    served = export(disk, limits=Limits(login_time=0.2))
    with Host(served.address, None) as host:
        host.begin()
        assert host.is_gone()


# ---------------------------------------------------------------- CONNECT

REFUSED = {
    "another subsystem": ({"nqn": "nqn.2026-01.test:none"}, 0x182, 0x10100),
    "no name of a host": ({"name": "iqn.x"}, 0x184, 0x10200),
    "one entry": ({"entries": 1}, 0x182, 44),
    "too many entries": ({"entries": 129}, 0x182, 44),
    "a controller of one's own choice": ({"controller": 5}, 0x182, 0x10010),
    "a queue of no controller": ({"queue": 1, "controller": 5}, 0x182, 0x10010),
    "a queue beyond the last": ({"queue": 128, "controller": 5}, 0x182, 42),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("by_r2t", [False, True])
def test_connects_that_are_refused(target: Nvme, what: str, by_r2t: bool) -> None:
    how, status, result = REFUSED[what]
    with pytest.raises(RefusedError) as told:
        Host(target.address, **({"nqn": target.nqn, "by_r2t": by_r2t} | how))
    assert (told.value.status, told.value.result) == (status, result)


def test_only_some_hosts(disk: zoned.Device, export: Export) -> None:
    served = export(disk, hosts=["nqn.2026-01.test:h*"])
    Host(served.address, served.nqn).close()
    with pytest.raises(RefusedError) as told:
        Host(served.address, served.nqn, name="nqn.2026-01.test:other")
    assert told.value.status == 0x184
    assert log_of(served, name="nqn.2026-01.test:other") == []


def test_queues_of_another_host(target: Nvme) -> None:
    with Host(target.address, target.nqn) as host:
        host.io(1).close()
        for how in ({"name": "nqn.2026-01.test:other"}, {"host_id": bytes(16)}):
            with pytest.raises(RefusedError) as told:
                host.io(2, **how)
            assert told.value.status == 0x182
        with host.io(2), pytest.raises(RefusedError):
            host.io(2)


def test_queues_before_the_controller_is_enabled(target: Nvme) -> None:
    with Host(target.address, target.nqn, enable=False) as host:
        with pytest.raises(RefusedError):
            host.io(1)
        host.enable()
        host.io(1).close()


def test_other_commands_first(target: Nvme) -> None:
    for sqe in (entry(0x18), entry(0x7F, 4), entry(0x7F, 5)):
        with Host(target.address, None) as host:
            host.begin()
            assert host.do(sqe).raw
            assert host.is_gone()


def test_what_comes_too_early(target: Nvme) -> None:
    """A host waits for the answer to CONNECT before it says more."""
    with Host(target.address, None) as host:
        host.nqn = target.nqn
        host.begin()
        sqe = bytearray(entry(0x7F, 1, cid=9))
        sqe[1] = 0x40
        sqe[24:40] = struct.pack("<QI3xB", 0, 1024, 1)
        sqe[40:52] = struct.pack("<HHHBxI", 0, 0, 31, 4, 0)
        first = host.pack(4, bytes(sqe), host.connect_data())
        host.sock.sendall(first + host.pack(4, entry(0x18, flags=0x40)))
        assert host.finish(9).status == 0x0C
        assert host.is_gone()


def test_a_disk_without_power_takes_nobody(disk: zoned.Device, target: Nvme) -> None:
    disk.power_cut()
    with pytest.raises(RefusedError) as told:
        Host(target.address, target.nqn)
    assert told.value.status == 0x181
    disk.power_on()
    Host(target.address, target.nqn).close()


def test_too_many_connections(disk: zoned.Device, export: Export) -> None:
    served = export(disk, limits=Limits(queues=2))
    with Host(served.address, served.nqn) as host, host.io(1):
        with pytest.raises(RefusedError) as told:
            host.io(2)
        assert told.value.status == 0x181
    until(lambda: not served.controllers, "it ends")
    Host(served.address, served.nqn).close()


# ---------------------------------------------------------------- discovery


def log_of(served: Nvme, **how: Any) -> list[bytes]:
    with Host(served.address, DISCOVERY, **how) as host:
        head = host.do(entry(0x02, d10=0x70 | 255 << 16), room=1024).data
        count = int.from_bytes(head[8:16], "little")
        size = 1024 * (count + 1)
        page = host.do(entry(0x02, d10=0x70 | (size // 4 - 1) << 16), room=size).data
        return [page[at : at + 1024] for at in range(1024, size, 1024)]


@pytest.mark.parametrize("digests", [0, 3])
def test_the_discovery_log(disk: zoned.Device, export: Export, digests: int) -> None:
    with zoned.memory(zones=4, zone_size="1MiB", dialect="zns") as other:
        served = export(disk, other, separate=True, listen=["127.0.0.1:0", "127.0.0.1:0"])
        records = log_of(served, digests=digests, align=3)
        assert [one[256:512].rstrip(b"\0").decode() for one in records] == [
            target.nqn for target in served.targets
        ]
        for one in records:
            assert one[:3] == b"\x03\x01\x02"
            assert one[32:64].rstrip(b" \0").decode() == served.port
            assert one[512:768].rstrip(b"\0") == b"127.0.0.1"


def test_the_discovery_controller(target: Nvme) -> None:
    with Host(target.address, DISCOVERY, enable=False) as host:
        assert host.do(entry(0x18)).status == 0x0C
        assert host.set(0x1C, 1) == 2
        host.enable()
        page = host.identify(1).data
        assert page[111] == 2
        assert page[768:1024].rstrip(b"\0").decode() == DISCOVERY
        assert host.identify(0).status == 2
        assert host.do(entry(0x02, d10=0x02), room=4).status == 0x109
        assert host.do(entry(0x02, d10=0x70 | 255 << 16, d12=1), room=1024).status == 2
        assert host.do(entry(0x02, d10=0x70 | 255 << 16), room=1000).status == 0x0F
        assert host.do(entry(0x09, d10=0x0B, d11=1 << 31)).raw == 0
        for _ in range(4):
            host.give(entry(0x0C))
        assert host.do(entry(0x0C)).status == 0x105
        assert host.do(entry(0x01, 1)).status == 1
        assert host.do(entry(0x18)).raw == 0
    for how in ({"queue": 1, "controller": 1}, {"controller": 4}):
        with pytest.raises(RefusedError):
            Host(target.address, DISCOVERY, **how)


def test_a_discovery_controller_ends_with_its_time(disk: zoned.Device, export: Export) -> None:
    served = export(disk, limits=Limits(discovery_time=0.2))
    with (
        Host(served.address, DISCOVERY) as host,
        Host(served.address, DISCOVERY, keep_alive=60_000) as long,
    ):
        assert host.is_gone()
        assert long.is_served()


# ---------------------------------------------------------------- DH-HMAC-CHAP


@pytest.fixture
def guarded(disk: zoned.Device, export: Export) -> Nvme:
    return export(disk, dhchap=(secret(KEY), secret(OWN)))


@pytest.mark.parametrize("hash_id", HASHES)
@pytest.mark.parametrize("group", GROUPS)
def test_every_hash_and_group(guarded: Nvme, hash_id: int, group: int) -> None:
    how = {"hashes": bytes([hash_id]), "groups": bytes([group])}
    for own in (None, OWN):
        with Host(guarded.address, guarded.nqn, proof=Proof(KEY, controller=own, **how)) as host:
            assert host.is_served()


@pytest.mark.parametrize("key_hash", [1, 2, 3])
def test_transformed_secrets(disk: zoned.Device, export: Export, key_hash: int) -> None:
    key, own = bytes(range(48)), bytes(range(9, 73))
    served = export(disk, dhchap={HOST: (secret(key, key_hash), secret(own, key_hash))})
    proof = Proof(key, key_hash, controller=own, groups=b"\0")
    with Host(served.address, served.nqn, proof=proof) as host, host.io(proof=proof) as queue:
        assert queue.is_served()


def test_primes_are_prime() -> None:
    """Not that they are the RFC's, which the kernel says: that e was not cut off wrongly."""
    for bits in (2048, 3072):
        assert pow(3, prime(bits) - 1, prime(bits)) == 1
        assert pow(3, (prime(bits) - 1) // 2 - 1, (prime(bits) - 1) // 2) == 1


WRONG = {
    "secret": (Proof(OWN, groups=b"\0"), {}, 1),
    "controller's secret": (Proof(KEY, controller=b"?" * 32, groups=b"\0"), {}, None),
    "hash": (Proof(KEY, hashes=b"\7"), {}, 4),
    "group": (Proof(KEY, groups=b"\x09"), {}, 5),
    "host": (Proof(KEY, groups=b"\0"), {"name": "nqn.2026-01.test:other"}, 1),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_proofs(disk: zoned.Device, export: Export, what: str) -> None:
    served = export(disk, dhchap={HOST: (secret(KEY), secret(OWN))})
    proof, how, explanation = WRONG[what]
    if explanation is None:
        with pytest.raises(AssertionError):
            Host(served.address, served.nqn, proof=proof, **how)
    else:
        with pytest.raises(RefusedError) as told:
            Host(served.address, served.nqn, proof=proof, **how)
        assert told.value.result == explanation
    assert served.controllers == []


def test_a_controller_that_has_nothing_to_prove_itself_by(
    disk: zoned.Device, export: Export
) -> None:
    served = export(disk, dhchap=secret(KEY))
    with pytest.raises(RefusedError):
        Host(served.address, served.nqn, proof=Proof(KEY, controller=OWN, groups=b"\0"))
    Host(served.address, served.nqn, proof=Proof(KEY, groups=b"\0")).close()


def test_who_does_not_prove_himself_does_nothing(guarded: Nvme) -> None:
    for sqe in (entry(0x06, d10=1), entry(0x7F, 4), entry(0x7F, 0)):
        with Host(guarded.address, guarded.nqn, enable=False) as host:
            assert host.do(sqe, room=4096).raw
            assert host.is_gone()
    assert guarded.controllers == []


def test_messages_out_of_order(guarded: Nvme) -> None:
    proof = Proof(KEY, groups=b"\0")

    def refused(host: Host) -> int:
        answer = host.auth_receive()
        assert answer[:2] == b"\0\xf0"
        assert host.is_gone()
        return answer[7]

    def connected() -> Host:
        return Host(guarded.address, guarded.nqn, enable=False)

    with connected() as host, pytest.raises(RefusedError):
        host.auth_receive()
    with connected() as host:
        host.auth_send(struct.pack("<BBHH10x", 1, 4, 0, 77))  # success2 first
        assert refused(host) == 7
    with connected() as host:
        host.auth_send(b"\0\0")
        assert refused(host) == 6
    with connected() as host:  # a secure channel
        with pytest.raises(RefusedError) as told:
            host.is_failure(host.negotiate(proof, channel=1))
        assert told.value.result == 3
    with connected() as host:
        message, _ = host.reply(proof, host.negotiate(proof))
        host.auth_send(message[:4] + b"\1\1" + message[6:])  # another transaction
        assert refused(host) == 6
    with connected() as host:
        message, _ = host.reply(proof, host.negotiate(proof))
        host.auth_send(message[:40])
        assert refused(host) == 6
    with connected() as host:
        challenge = host.negotiate(proof)
        size = challenge[6]
        message, _ = host.reply(Proof(KEY, controller=OWN, groups=b"\0"), challenge)
        # Its own challenge, sent back.
        mirrored = message[: 16 + size] + challenge[16 : 16 + size] + message[16 + 2 * size :]
        host.auth_send(mirrored)
        assert refused(host) == 1
    with connected() as host:
        host.negotiate(proof)
        host.auth_send(struct.pack("<BBHHBB8x", 0, 0xF1, 0, 77, 1, 1))  # the host gives up
        assert host.is_gone()
    for public in (0, 1, prime(2048) - 1, prime(2048)):
        with connected() as host:
            strong = Proof(KEY, groups=b"\1")
            message, _ = host.reply(strong, host.negotiate(strong))
            host.auth_send(message[:-256] + public.to_bytes(256, "big"))
            assert refused(host) == 6


def test_secrets_that_are_none() -> None:
    good = secret(KEY)
    assert DhSecret.parse(good).key == KEY
    for text in (
        "",
        "DHHC-1:00:",
        good[:-1],
        good.replace("DHHC-1", "DHHC-2"),
        secret(KEY[:31]),
        secret(KEY, 4),
        "DHHC-1:00:!!!!:",
        good[:20] + ("A" if good[20] != "A" else "B") + good[21:],
    ):
        with pytest.raises(ValueError, match="DH-HMAC-CHAP secret"):
            DhSecret.parse(text)
    known = {"*": (DhSecret(KEY), None)}
    for wrong in (
        lambda: DhChap({}),
        lambda: DhChap({"*": (DhSecret(KEY), DhSecret(KEY))}),
        lambda: DhChap(known, hashes=("md5",)),
        lambda: DhChap(known, groups=()),
    ):
        with pytest.raises(ValueError, match=r"DH-HMAC-CHAP|secret"):
            wrong()
    assert repr(KEY)[2:-1] not in repr(DhSecret(KEY)) + repr(DhChap(known))
