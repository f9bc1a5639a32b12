"""``zonedctl export``, the fixture, forks and the end of a process: exports as their users have them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
from exporting import ENTRY, Run, commands, listed
from iscsi.initiator import Initiator
from scsi import cdb16
from waiting import PATIENCE, until
from zoned.export import Iscsi, registry


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(path, zones=8, zone_size="1MiB", conventional=2, host_sync="never").close()
    return path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with commands(tmp_path) as call:
        yield call


def test_in_the_background(run: Run, image: Path) -> None:
    words = (
        "export",
        "iscsi",
        "-d",
        "--listen",
        "127.0.0.1:0",
        "--iqn",
        "iqn.2026-01.test:d",
        "disk.img",
    )
    done = run(*words)
    (found,) = listed(run)
    address = str(found["addresses"][0])
    # As in the foreground: the free port is told at once.
    url = f"iscsi://{address}/iqn.2026-01.test:d/0"
    assert (done.returncode, done.stdout) == (0, f"{url}\n")
    for word in (f"--login\n  QEMU      -drive file={url}", f"iscsi-inq {url}"):
        assert word in done.stderr
    with Initiator(address, "iqn.2026-01.test:d") as host:
        host.ready()
        assert host.do(cdb16(0x8A, 0, 1), data=b"x" * 4096).status == 0
        told = run("info", "disk.img").stdout
        assert f"exported      iscsi at {address} by pid {found['pid']}" in told
        assert "LUN 0 of iqn.2026-01.test:d" in told
        assert f"{host.name} from 127.0.0.1:" in told
        document = json.loads(run("info", "disk.img", "--json").stdout)
        assert document["exports"][0]["targets"][0]["sessions"][0]["bytes_in"] == 4096
        stopped = run("export", "stop", "disk.img")
        assert stopped.returncode == 0, stopped.stderr
        assert host.is_gone()
    assert listed(run) == []
    with zoned.open(image, readonly=True) as disk:
        assert disk.info().clean
        assert disk.pread(4096, 0) == b"x" * 4096


def test_in_the_foreground(image: Path, tmp_path: Path) -> None:
    words = ["export", "iscsi", "--listen", "127.0.0.1:0", str(image)]
    with subprocess.Popen(
        [*ENTRY, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as served:
        assert served.stdout is not None
        assert served.stderr is not None
        url = served.stdout.readline().strip()
        address, iqn, lun = url.removeprefix("iscsi://").split("/")
        with Initiator(address, iqn) as host:
            host.ready()
            served.send_signal(signal.SIGINT)
            assert host.receive().raw[36] == 1  # it is asked to leave
            host.logout()
        told = served.stderr.read()
        assert served.wait(PATIENCE) == 0
    assert lun == "0"
    for word in ("iscsiadm -m node", "scsi-generic", "iscsi-inq", "no longer served: Ctrl-C"):
        assert word in told


def test_secrets_come_from_a_file_or_the_environment(run: Run, image: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("alice a-secret-of-alice\n")
    words = ("export", "iscsi", "-d", "--listen", "127.0.0.1:0", str(image))
    refused = run(*words, "--chap-file", str(secrets))
    secrets.chmod(0o600)
    assert "chmod 600" in refused.stderr
    assert run(*words, "--chap-file", str(secrets)).returncode == 0
    assert run(*words, ZONED_CHAP_USER="bob", ZONED_CHAP_SECRET="a-secret-of-bob").returncode == 0
    told = run("export", "list", "--format", "json").stdout
    assert "a-secret" not in told
    for found in json.loads(told)["exports"]:
        address, iqn = str(found["addresses"][0]), str(found["targets"][0]["iqn"])
        name = "alice" if "alice@" in str(found["url"]) else "bob"
        with pytest.raises(PermissionError):
            Initiator(address, iqn)
        with Initiator(address, iqn, chap=(name, f"a-secret-of-{name}".encode())) as host:
            host.ready()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"listen": "0.0.0.0:0"}, "give chap, or no_auth"),
        ({"listen": "nonsense"}, "no address to listen on"),
        ({"listen": []}, "no address to listen on"),
        ({"luns": [1]}, "1 LUNs for 2 disks"),
        ({"luns": [1, 1]}, "two disks have one LUN"),
        ({"luns": [1, 256]}, "from 0 to 255"),
        ({"iqn": "nonsense"}, "no iSCSI name"),
        ({"discovery_auth": True}, "needs chap"),
        ({"mutual": ("a", "b")}, "needs chap"),
        ({"separate": True}, "exported twice"),
        ({"initiators": [""]}, "no name of an initiator"),
    ],
)
def test_what_cannot_be_is_a_sentence(image: Path, how: dict[str, Any], told: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ValueError, match=told):
        zoned.export.iscsi(image, image, **how)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ValueError, match="no disk"):
        zoned.export.iscsi()


def test_a_failure_in_the_background_is_the_commands(run: Run) -> None:
    done = run("export", "iscsi", "-d", "--listen", "127.0.0.1:0", "none.img")
    told = "zonedctl: none.img: No such file or directory (cannot open the image)\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_an_export_that_was_killed_is_forgotten(run: Run, image: Path) -> None:
    assert run("export", "iscsi", "-d", "--listen", "127.0.0.1:0", str(image)).returncode == 0
    (found,) = listed(run)
    os.kill(int(str(found["pid"])), signal.SIGKILL)
    until(lambda: listed(run) == [], "it is not listed any more")


def test_one_that_just_begins_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lists exports takes a socket that refuses for what a killed one left."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = registry.folder()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            registry.running()

    looking = [threading.Thread(target=look) for _ in range(2)]
    for thread in looking:
        thread.start()
    try:
        for _ in range(300):
            entry = registry.Entry(dict, lambda: None)
            assert entry.open()
            made = list(folder.glob(f"{os.getpid()}-*"))
            entry.close()
            entry.hide()
            assert [path.suffix for path in made] == [".sock"]
    finally:
        over.set()
        for thread in looking:
            thread.join()
    left = folder / "999999999-0.new"
    left.touch()
    registry.running()
    assert not left.exists()


def test_exports_of_this_process_are_listed(target: Iscsi) -> None:
    assert os.getpid() in [one["pid"] for one in registry.running()]
    (url,) = [one["url"] for one in registry.running() if one["pid"] == os.getpid()]
    assert url == target.url
    (stopped,) = registry.stop(lambda one: one["url"] == target.url)
    assert target.wait(PATIENCE)
    assert stopped.is_there()  # until its owner closes it
    target.close(grace=0)
    assert not stopped.is_there()


def test_a_forked_child_has_no_part_in_it(target: Iscsi) -> None:
    with Initiator(target.address, target.iqn) as host:
        host.ready()
        child = os.fork()
        if child == 0:
            try:
                target.close()
            except RuntimeError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert host.do(bytes(6)).status == 0


def test_what_is_left_open_ends_with_the_process(image: Path) -> None:
    code = (
        "import zoned, sys\n"
        f"served = zoned.export.iscsi({str(image)!r})\n"
        "print(served.address, served.iqn, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address, iqn = process.stdout.readline().split()
        with Initiator(address, iqn) as host:
            host.ready()
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
            assert host.is_gone()
    with zoned.open(image, readonly=True) as disk:
        assert disk.info().clean


def test_a_disk_in_ram_is_no_image(
    run: Run, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export of one is passed over where those of an image are looked for."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with zoned.memory(zones=8, zone_size="1MiB") as dev, zoned.export.iscsi(dev):
        assert len(listed(run)) == 1
        for words in (("info", str(image)), ("info", "--json", str(image))):
            done = run(*words)
            assert (done.returncode, done.stderr) == (0, ""), words
            assert "exported" not in done.stdout
        done = run("export", "stop", str(image))
        assert done.returncode == 1
        assert done.stderr.startswith("zonedctl: "), done.stderr
        assert "Traceback" not in done.stderr
        assert len(listed(run)) == 1
        text = run("export", "list")
        assert text.returncode == 0 and "None" not in text.stdout, text
