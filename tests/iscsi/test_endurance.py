"""Initiators that verify all they wrote, while the target is killed and started again and connections are cut.

Each has zones of its own, which it fills, reads back, and resets. What was acknowledged is there, whoever died; what was
not is there whole, in part from the front, or not at all.
"""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import zoned
from cli.shell import environment
from connection import GoneError
from iscsi.initiator import Initiator
from scsi import cdb16
from waiting import PATIENCE, until

BLOCK = 4096
ZONES, ZONE_BLOCKS, CONVENTIONAL = 24, 64, 4
HOSTS = 4
SERVER = """
import signal, sys
import zoned
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
with zoned.export.iscsi(sys.argv[1], listen=sys.argv[2], iqn="iqn.2026-01.test:endurance") as served:
    print(served.address, flush=True)
    served.wait(3600)
"""


class Server:
    """The target, in a process of its own, at one address for good."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.address = "127.0.0.1:0"
        self.begin()

    def begin(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.image), self.address],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, "the target began"

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.wait()

    def wait(self) -> None:
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def holds(self) -> tuple[int, int, int]:
        """Its descriptors, threads, and resident memory in KiB."""
        folder = Path(f"/proc/{self.process.pid}")
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        return (
            len(list((folder / "fd").iterdir())),
            int(status["Threads"]),
            int(status["VmRSS"].split()[0]),
        )


class Host(threading.Thread):
    """An initiator that goes on, whatever becomes of its connection."""

    def __init__(self, number: int, server: Server, seed: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number, self.server, self.ended = number, server, ended
        self.draw = random.Random(seed * HOSTS + number)
        self.zones = range(CONVENTIONAL + number, ZONES, HOSTS)
        self.sure = dict.fromkeys(self.zones, 0)
        """Blocks that were acknowledged, of each zone."""
        self.life = dict.fromkeys(self.zones, 0)
        """How often it was reset: no two lives have the same data."""
        self.connection: Initiator | None = None
        self.commands = self.logins = 0
        self.problem: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                try:
                    self.session()
                except (GoneError, OSError):
                    time.sleep(0.01)  # between a kill and the new target
            with self.login() as self.connection:
                self.look_at_all()
        except BaseException as error:  # noqa: BLE001 - whatever it was is the finding
            self.problem = error

    def login(self) -> Initiator:
        keys = (
            {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"} if self.draw.random() < 0.5 else {}
        )
        return Initiator(
            self.server.address,
            "iqn.2026-01.test:endurance",
            isid=bytes([0x80, 0, 0, 0, 0, self.number]),
            keys=keys,
        )

    def session(self) -> None:
        with self.login() as self.connection:
            self.logins += 1
            self.look_at_all()
            while not self.ended.is_set():
                self.step()

    def data(self, zone: int, block: int, count: int) -> bytes:
        head = [
            b"%d %d %d %d " % (self.number, zone, self.life[zone], block + i) for i in range(count)
        ]
        return b"".join((one * (BLOCK // len(one) + 1))[:BLOCK] for one in head)

    def command(self, cdb: bytes, *, read: int = 0, data: bytes = b"") -> bytes:
        assert self.connection is not None
        done = self.connection.do(cdb, read=read, data=data)
        assert done.status == 0, (self.number, cdb.hex(), done.codes)
        self.commands += 1
        return done.data

    def written(self, zone: int) -> int:
        """Blocks in front of the write pointer, or of a full zone."""
        row = self.command(cdb16(0x95, zone * ZONE_BLOCKS, 128), read=128)[64:]
        full = row[1] >> 4 == 14
        return ZONE_BLOCKS if full else int.from_bytes(row[24:32], "big") - zone * ZONE_BLOCKS

    def look_at_all(self) -> None:
        assert self.connection is not None
        while self.connection.do(bytes(6)).status:
            pass  # a power on, or the end of another session of this port
        for zone in self.zones:
            self.look(zone)

    def look(self, zone: int) -> None:
        """What a lost connection left: nothing that was acknowledged may lack."""
        there = self.written(zone)
        if there == 0 and self.sure[zone] == ZONE_BLOCKS:
            self.life[zone] += 1  # the reset was not answered, but was done
            self.sure[zone] = 0
        assert there >= self.sure[zone], f"zone {zone} has {there} blocks of {self.sure[zone]}"
        self.sure[zone] = there
        self.verify(zone, 0, there)

    def verify(self, zone: int, block: int, count: int) -> None:
        if count:
            found = self.command(cdb16(0x88, zone * ZONE_BLOCKS + block, count), read=count * BLOCK)
            assert found == self.data(zone, block, count), f"zone {zone}, {count} from {block}"

    def step(self) -> None:
        zone = self.draw.choice(self.zones)
        at = self.sure[zone]
        if at == ZONE_BLOCKS:
            self.verify(zone, 0, at)
            self.command(bytes([0x94, 4]) + cdb16(0, zone * ZONE_BLOCKS, 0)[2:])
            self.life[zone] += 1
            self.sure[zone] = 0
        elif at and self.draw.random() < 0.3:
            block = self.draw.randrange(at)
            self.verify(zone, block, self.draw.randint(1, at - block))
        else:
            count = self.draw.randint(1, min(40, ZONE_BLOCKS - at))
            data = self.data(zone, at, count)
            self.command(
                cdb16(0x8A, zone * ZONE_BLOCKS + at, count, self.draw.choice([0, 8])), data=data
            )
            self.sure[zone] = at + count

    def cut(self) -> bool:
        """From another thread, at any moment."""
        found = self.connection
        if found is None:
            return False
        try:
            found.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return True


def logged_in(hosts: Sequence[Host], before: Sequence[int]) -> bool:
    """All of them again, since they had logged in that often. Raises what one found."""
    for host in hosts:
        if host.problem is not None:
            raise host.problem
    return all(host.logins > before[host.number] for host in hosts)


def holds_at_most(server: Server, what: int, most: int) -> bool:
    return server.holds()[what] <= most


def test_killed_targets_and_cut_connections_lose_nothing(shm: Path, long_run: bool) -> None:
    """What fails is printed with its seed."""
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    kills, cuts = (50, 500) if long_run else (3, 24)
    image = shm / "disk.img"
    zoned.create(
        image,
        size=ZONES * ZONE_BLOCKS * BLOCK,
        zone_size=ZONE_BLOCKS * BLOCK,
        conventional=CONVENTIONAL,
        logical_block=BLOCK,
        max_open=0,
    ).close()
    draw = random.Random(seed)
    ended = threading.Event()
    server = Server(image)
    hosts = [Host(number, server, seed, ended) for number in range(HOSTS)]
    try:
        for host in hosts:
            host.start()
        done = 0
        before = [0] * HOSTS
        for _ in range(kills):
            until(partial(logged_in, hosts, before), "all are logged in")
            held = server.holds()
            for _ in range(cuts // kills):
                before = [host.logins for host in hosts]
                victim = draw.choice(hosts)
                done += victim.cut()
                until(partial(logged_in, [victim], before), "it is logged in again")
                time.sleep(draw.random() * 0.02)
            until(partial(holds_at_most, server, 0, held[0] + 1), "no descriptor leaks")
            until(partial(holds_at_most, server, 1, held[1] + 1), "no thread leaks")
            assert server.holds()[2] < held[2] + 16 * 1024, "no memory leaks"
            time.sleep(draw.random() * 0.2)
            server.kill()
            before = [host.logins for host in hosts]
            server.begin()
        ended.set()
        for host in hosts:
            host.join(PATIENCE)
            assert not host.is_alive()
        server.stop()
        assert server.process.returncode == 0
    finally:
        ended.set()
        server.process.send_signal(signal.SIGKILL)
        server.wait()
    for host in hosts:
        if host.problem is not None:
            raise host.problem
    assert done >= cuts // 2
    assert all(host.logins > kills for host in hosts)
    assert zoned.check(image) == []
    print(f"{sum(h.commands for h in hosts)} commands, {done} cuts, {kills} kills")
