"""The lab: what it says when something is missing, and that jobs in the guest do what they should."""

from __future__ import annotations

import io
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kernel import lab

ROOT = Path(__file__).resolve().parents[2]


# ---------------------------------------------------------------- without a kernel


def _says(monkeypatch: pytest.MonkeyPatch, *there: str) -> str | None:
    monkeypatch.setattr(lab, "_which", lambda tool: f"/bin/{tool}" if tool in there else None)
    return lab.missing()


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, with the command that brings them."""
    assert _says(monkeypatch, "dpkg-deb") == (
        "the kernel lab lacks qemu-system-x86, busybox-static, kmod: "
        "sudo apt install qemu-system-x86 busybox-static kmod"
    )


def test_other_machines_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert lab.missing() == "the kernel lab runs on x86-64 Linux only (this is aarch64 linux)"


def test_a_dynamic_busybox_is_no_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not run before there is a root folder."""
    busybox = tmp_path / "busybox"
    busybox.write_bytes(b"\x7fELF" + bytes(500) + b"/lib64/ld-linux-x86-64.so.2\0")
    monkeypatch.setattr(lab, "_which", lambda tool: str(busybox))
    assert lab.missing() == (
        "the kernel lab needs a busybox that is statically linked: sudo apt install busybox-static"
    )


def _apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, search: str, download: int) -> None:
    """apt in a play: what it finds, and whether it can download that."""

    def command(argv: list[str], cwd: str | None = None) -> Any:
        if argv[1] == "search":
            return SimpleNamespace(returncode=0, stdout=search, stderr="")
        status = 100 if argv[1] == "update" else download
        return SimpleNamespace(returncode=status, stdout="", stderr="E: no route to host\n")

    monkeypatch.setattr(lab, "missing", lambda: None)
    monkeypatch.setattr(lab, "_which", lambda tool: f"/bin/{tool}")
    monkeypatch.setattr(lab, "_command", command)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("ZONED_KERNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ZONED_KERNEL_DEB", raising=False)


def test_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = (
        "linux-image-6.12.107+deb12-amd64-dbg - Debug symbols\n"
        "linux-image-6.12.107+deb12-cloud-amd64 - cloud\n"
        "linux-image-6.12.107+deb12-rt-amd64 - real time\nlinux-image-6.1.0-32-amd64 - older\n"
    )
    _apt(monkeypatch, tmp_path, search=others, download=0)
    with pytest.raises(
        lab.UnavailableError, match=r"^apt knows no linux-image-6\.12\.\*-amd64 "
    ) as caught:
        lab.prepare()
    assert "apt-get update: E: no route to host" in str(caught.value)
    assert "ZONED_KERNEL_DEB" in str(caught.value)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest by number, not by spelling."""
    names = "linux-image-6.12.9+deb12-amd64 - a\nlinux-image-6.12.63+deb13-amd64 - b\n"
    _apt(monkeypatch, tmp_path, search=names, download=100)
    with pytest.raises(lab.UnavailableError) as caught:
        lab.prepare()
    assert str(caught.value) == (
        "apt could not download linux-image-6.12.63+deb13-amd64 "
        "(a network is needed the first time): E: no route to host"
    )
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_a_package_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "missing", lambda: None)
    monkeypatch.setenv("ZONED_KERNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ZONED_KERNEL_DEB", str(tmp_path / "none.deb"))
    with pytest.raises(lab.UnavailableError, match=r"names .*none\.deb, and there is no such file"):
        lab.prepare()


def test_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(lab, "missing", lambda: None)
    monkeypatch.setenv("ZONED_KERNEL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(lab.UnavailableError, match=r"cannot use its cache .*file/cache"):
        lab.prepare()


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZONED_KERNEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert lab.cache_folder() == Path("/somewhere/zoned-kernel")


def test_the_archive_that_the_kernel_unpacks(tmp_path: Path) -> None:
    """Names, modes and contents of a newc archive, read by its own description."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").write_bytes(b"12345")
    (tmp_path / "bin" / "sh").chmod(0o755)
    file = io.BytesIO(b"".join(lab._cpio(tmp_path)))
    found = []
    while True:
        head = file.read(110)
        assert head[:6] == b"070701"
        fields = [int(head[at : at + 8], 16) for at in range(6, 110, 8)]
        name = file.read(fields[11])[:-1].decode()
        file.seek(-file.tell() % 4, os.SEEK_CUR)
        data = file.read(fields[6])
        file.seek(-file.tell() % 4, os.SEEK_CUR)
        if name == "TRAILER!!!":
            break
        found.append((name, oct(fields[1]), data))
    assert found == [
        ("bin", oct((tmp_path / "bin").stat().st_mode), b""),
        ("bin/sh", "0o100755", b"12345"),
    ]
    assert file.read() == b""


def test_usage() -> None:
    """By hand, from the project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernel.lab", "no-such-script"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "No such file or directory: 'no-such-script'" in done.stderr


# ---------------------------------------------------------------- with one


@pytest.mark.kernel
def test_a_job_runs_as_root_on_6_12(kernel: lab.Kernel) -> None:
    done = kernel.run("uname -r; id -u; cd /job && pwd; echo bad >&2; exit 7")
    assert done.status == 7
    version, *rest = done.output.splitlines()
    assert version == kernel.version
    assert version.startswith("6.12.")
    assert rest == ["0", "/job", "bad"]


@pytest.mark.kernel
def test_this_machine_is_there_and_safe(kernel: lab.Kernel) -> None:
    """The root folder is this machine's, what is changed there is not; /job is shared both ways."""
    (kernel.share / "in").write_text("hello")
    marker = f"/etc/lab-marker-{os.getpid()}"
    done = kernel.run(
        f"set -e; {lab.python()} -c 'import ctypes'; touch {marker}; test -e {marker}; cat in; echo there >out"
    )
    assert done == lab.Result(0, "hello")
    assert (kernel.share / "out").read_text() == "there\n"
    assert not os.path.exists(marker)


@pytest.mark.kernel
def test_words_and_shells(kernel: lab.Kernel) -> None:
    """A list of words is one command; a script may name its shell."""
    assert kernel.run(["printf", "%s|", "a b", "$HOME"]).output == "a b|$HOME|"
    assert kernel.run("#!/bin/bash\nx=(1 2 3); echo ${#x[@]}").output == "3\n"
    seen: list[str] = []
    assert kernel.run("echo one; sleep 1; echo two", watch=seen.append).status == 0
    assert "".join(seen) == "one\ntwo\n"


@pytest.mark.kernel
def test_its_modules_load(kernel: lab.Kernel) -> None:
    done = kernel.run(f"for m in {' '.join(lab.MODULES)}; do modprobe -n $m || echo $m; done")
    assert done == lab.Result(0, "")


@pytest.mark.kernel
def test_a_job_over_its_time_ends_the_kernel(kernel: lab.Kernel) -> None:
    with pytest.raises(lab.LabError) as caught:
        kernel.run("echo began; sleep 1000", timeout=3)
    assert "did not answer in time" in str(caught.value)
    assert str(caught.value).endswith("the job had said:\nbegan")
    assert not kernel.alive
    with pytest.raises(lab.LabError, match="has ended"):
        kernel.run("true")


@pytest.mark.kernel
def test_a_dying_kernel_is_told_from_a_slow_one(kernel: lab.Kernel) -> None:
    """Another one, as the last test has ended the first. The console's last words are in the message."""
    with pytest.raises(lab.LabError, match="the kernel ended and did not answer") as caught:
        kernel.run("echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100")
    assert "Kernel panic" in str(caught.value)
    assert not kernel.alive
