"""``zonedctl export nvme``, info, and the fixture: exports as their users have them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoned
from exporting import ENTRY, Run, commands, listed
from nvmetcp.host import HOST, Host, Proof, RefusedError, secret
from waiting import PATIENCE


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    zoned.create(
        path, zones=8, zone_size="1MiB", conventional=2, dialect="zns", host_sync="never"
    ).close()
    return path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with commands(tmp_path) as call:
        yield call


def only(run: Run) -> dict[str, Any]:
    """The one export that there is."""
    (found,) = listed(run)
    return found


def test_from_the_beginning_to_the_end(run: Run, image: Path) -> None:
    words = ("--listen", "127.0.0.1:0", "--nqn", "nqn.2026-01.test:d", "disk.img")
    done = run("export", "nvme", "-d", *words)
    found = only(run)
    # As in the foreground: the free port is told at once.
    assert (done.returncode, done.stdout) == (0, f"{found['url']}\n")
    assert f"-s {found['addresses'][0].split(':')[1]} -n nqn.2026-01.test:d\n" in done.stderr
    assert (found["kind"], found["targets"][0]["namespaces"]) == (
        "nvme",
        {"1": str(image), "2": str(image)},
    )
    with Host(found["addresses"][0], "nqn.2026-01.test:d") as host, host.io():
        (session,) = only(run)["targets"][0]["sessions"]
        assert (session["host"], session["queues"]) == (HOST, 1)
        text = run("export", "list").stdout
        assert "target nqn.2026-01.test:d" in text
        assert f"namespace 2: {image}" in text
        assert f"{HOST} from 127.0.0.1" in text
        about = run("info", "disk.img").stdout
        assert f"nvme at {found['addresses'][0]}" in about
        assert "namespace 1, 2 of nqn.2026-01.test:d" in about
        assert run("export", "stop", "nqn.2026-01.test:d").returncode == 0
        assert host.is_gone()
    assert run("export", "list").stdout == ""


@pytest.mark.usefixtures("image")
def test_a_secret_of_the_environment(run: Run) -> None:
    key, own = bytes(range(32)), bytes(range(1, 33))
    words = ("export", "nvme", "-d", "--listen", "127.0.0.1:0", "disk.img")
    assert run(*words, ZONED_DHCHAP_SECRET=secret(key)).returncode == 0
    address, nqn = only(run)["addresses"][0], only(run)["targets"][0]["nqn"]
    with pytest.raises(RefusedError):
        Host(address, nqn, proof=Proof(own, groups=b"\0"))
    Host(address, nqn, proof=Proof(key, groups=b"\0")).close()
    assert run("export", "stop", "--all").returncode == 0


def test_a_file_of_secrets(run: Run, image: Path) -> None:
    key, own = bytes(range(32)), bytes(range(1, 33))
    path = image.parent / "secrets"
    words = ("export", "nvme", "-d", "--listen", "127.0.0.1:0", "--dhchap-file", "secrets")
    for text, sentence in (
        ("", "it names no host"),
        (f"{HOST}\n", "a line is HOST-NQN SECRET"),
        (f"{HOST} DHHC-1:00:x:\n", "line 1"),
    ):
        path.write_text(text)
        path.chmod(0o600)
        done = run(*words, "disk.img")
        assert done.returncode == 1
        assert sentence in done.stderr
    path.write_text(f"# of a test\n{HOST} {secret(key)} {secret(own)}\n")
    path.chmod(0o644)
    assert "chmod 600" in run(*words, "disk.img").stderr
    path.chmod(0o600)
    assert run(*words, "disk.img").returncode == 0
    address, nqn = only(run)["addresses"][0], only(run)["targets"][0]["nqn"]
    Host(address, nqn, proof=Proof(key, controller=own, groups=b"\0")).close()
    assert run("export", "stop", "disk.img").returncode == 0


def test_a_disk_of_another_dialect(run: Run, tmp_path: Path) -> None:
    zoned.create(tmp_path / "zbc.img", zones=8, zone_size="1MiB").close()
    done = run("export", "nvme", "--listen", "127.0.0.1:0", "zbc.img")
    assert done.returncode == 1
    assert "create it with dialect zns" in done.stderr


def test_the_foreground_tells_how_to_connect(run: Run, image: Path, tmp_path: Path) -> None:
    env = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    with subprocess.Popen(
        [*ENTRY, "export", "nvme", "--listen", "127.0.0.1:0", str(image)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("nvme+tcp://127.0.0.1:")
        address, nqn = url.removeprefix("nvme+tcp://").split("/")
        Host(address, nqn).close()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert f"nvme connect -t tcp -a 127.0.0.1 -s {address.split(':')[1]} -n {nqn}" in told
        assert "no longer served: Ctrl-C" in told
