"""The package: sdist and wheel hold what they must, build in an empty environment, and work there."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import zoned

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
NAME = f"zoned-{zoned.__version__}"


def run(*command: str | Path, cwd: Path | None = None, **more: str) -> str:
    """Run a command without this checkout on its path; what it printed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "ZONED_", "CFLAGS", "LD_PRELOAD"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str, bool, str], None]
) -> Path:
    """A folder with the sdist, and the wheel that was built from it, each in an environment of its
    own.
    """
    folder = tmp_path_factory.mktemp("dist")
    probe = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            folder / "probe",
            "cffi",
        ],
        capture_output=True,
        check=False,
    )
    needs(
        "index",
        probe.returncode == 0,
        "building in an empty environment fetches setuptools and cffi",
    )
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_sdist_holds_every_source(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    assert path.name == f"{NAME}.tar.gz"
    with tarfile.open(path) as archive:
        inside = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    for pattern in (
        "native/**/*.c",
        "native/**/*.h",
        "native/**/*.py",
        "zoned/**/*.py",
        "zoned/**/*.toml",
    ):
        wanted = {str(file.relative_to(ROOT)) for file in ROOT.glob(pattern)}
        assert wanted
        assert wanted - inside == set()
    assert {
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "tests/unit/test_package.py",
    } <= inside
    wrong = [
        name for name in inside if name.endswith((".so", ".o", ".pyc")) or "/_native.c" in name
    ]
    assert wrong == []


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name.startswith(f"{NAME}-cp311-abi3-linux_")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = email.message_from_bytes(archive.read(f"{NAME}.dist-info/METADATA"))
        entry_points = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()
    top = {name.split("/")[0] for name in inside}
    assert top == {"zoned", "zonefs", f"{NAME}.dist-info"}
    profiles = {f"zoned/profiles/{name}.toml" for name in ("test", "hc620", "hc680", "zn540")}
    typed = {"zoned/py.typed", "zonefs/py.typed", "zoned/_native.pyi", "zoned/_fast.pyi"}
    native = {"zoned/_native.abi3.so", "zoned/_fast.abi3.so"}
    assert profiles | typed | native <= inside
    assert [name for name in inside if name.endswith((".c", ".h"))] == []
    python = {str(path.relative_to(ROOT)) for path in ROOT.glob("zoned/**/*.py")}
    assert python - inside == set()
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert metadata["Version"] == zoned.__version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    needed = {
        line.split(";")[0].split(">")[0].strip()
        for line in metadata.get_all("Requires-Dist", [])
        if "extra" not in line
    }
    assert {"cffi", "click", "humanize", "sortedcontainers"} <= needed
    assert "zonedctl = zoned.cli:main" in entry_points


def test_the_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel)
    run(python, "-m", "pip", "check")
    smoke = (
        "import zoned\n"
        "with zoned.memory() as dev:\n"
        "    dev.append(3, b'x' * 4096)\n"
        "    try:\n"
        "        dev.pwrite(b'y' * 4096, dev.zones[3].start)\n"
        "    except zoned.UnalignedWriteError as error:\n"
        "        print(error)\n"
        "print(zoned.__version__, zoned.__file__)\n"
    )
    out = run(python, "-c", smoke, cwd=tmp_path).splitlines()
    start = 3 * (4 << 20)
    assert out[0] == f"write at {start} in zone 3 is not at its write pointer {start + 4096}"
    assert out[1].startswith(f"{zoned.__version__} {tmp_path}")
    zonedctl = tmp_path / "venv" / "bin" / "zonedctl"
    run(zonedctl, "create", "disk.img", cwd=tmp_path)
    report = run(zonedctl, "report", "--format", "blkzone", "disk.img", cwd=tmp_path)
    assert len(report.splitlines()) == 16
    assert "zcond: 1(em) [type: 2(SEQ_WRITE_REQUIRED)]" in report


def test_without_libfuse3_all_but_the_mount_works(built: Path, tmp_path: Path) -> None:
    """Built from source where pkg-config does not know fuse3."""
    (source,) = built.glob("*.tar.gz")
    hidden = tmp_path / "bin" / "pkg-config"
    hidden.parent.mkdir()
    hidden.write_text("#!/bin/sh\nexit 1\n")
    hidden.chmod(0o755)
    path = f"{hidden.parent}:{os.environ['PATH']}"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python, zonedctl = (tmp_path / "venv" / "bin" / name for name in ("python", "zonedctl"))
    run(python, "-m", "pip", "install", "-q", source, PATH=path)
    run(zonedctl, "create", "disk.img", cwd=tmp_path)
    run(zonedctl, "mkfs", "disk.img", cwd=tmp_path)
    listing = (
        "import zoned, zonefs; print(zonefs.ZoneFS(zoned.open('disk.img')).listdir('seq')[:2])"
    )
    assert "['0', '1']" in run(python, "-c", listing, cwd=tmp_path)
    (tmp_path / "mnt").mkdir()
    refused = subprocess.run(
        [zonedctl, "mount", "disk.img", "mnt"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "zoned was built without libfuse3; install it (Debian, Ubuntu: apt install " in line
    assert os.listdir(tmp_path / "mnt") == []
