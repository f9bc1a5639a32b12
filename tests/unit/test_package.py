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


def elsewhere() -> dict[str, str]:
    """The environment without this checkout on Python's path, whatever build of it is tested here."""
    ours = ("PYTHON", "ZONED_", "CFLAGS", "LD_PRELOAD")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def run(*command: str | Path, cwd: Path | None = None, **more: str) -> str:
    """Run a command elsewhere; what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=elsewhere() | more,
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
    native = {"zoned/_native.abi3.so"}
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
        env=elsewhere(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "zoned was built without libfuse3; install it (Debian, Ubuntu: apt install " in line
    assert os.listdir(tmp_path / "mnt") == []


PROJECT = {
    "pytest.ini": "[pytest]\nzoned_zones = 6\n",
    "conftest.py": """
import pytest

@pytest.fixture
def zoned_settings(request):
    return {"max_open": 3} if "own" in request.node.name else {}
""",
    "plan.toml": '[[fault]]\nkind = "medium"\non = "write"\nnth = 2\nlabel = "from the plan"\n',
    "test_disk.py": """
import os
import pytest
import zoned

def test_settings(zoned_device):
    assert len(zoned_device.zones) == int(os.environ["EXPECTED_ZONES"])

@pytest.mark.zoned(zones=9, max_open=2, dialect="zns")
def test_marker(zoned_device_factory):
    one, two = zoned_device_factory(), zoned_device_factory(max_open=1)
    assert [len(one.zones), one.limits.max_open, two.limits.max_open] == [9, 2, 1]

def test_own_fixture(zoned_device):
    assert zoned_device.limits.max_open == 3

@pytest.mark.zoned(faults="plan.toml")
def test_plan(zoned_image):
    with zoned.open(zoned_image) as dev:
        start = dev.zones[-1].start
        dev.pwrite(bytes(4096), start)
        with pytest.raises(zoned.MediumError, match="from the plan"):
            dev.pwrite(bytes(4096), start + 4096)

def test_zonefs(zonefs):
    with zonefs.open("seq/0", "ab") as file:
        file.write(bytes(4096))

@pytest.mark.parametrize("n", range(20))
def test_mounts(zonefs_mount, n):
    assert not (zonefs_mount / "seq" / "0").stat().st_size
    (zonefs_mount / "seq" / "0").write_bytes(bytes(4096))

def workload(dev, ack):
    dev.append(3, b"a" * 4096)
    ack("a")

def verify(dev, acknowledged):
    assert dev.zones[3].wp > dev.zones[3].start or not acknowledged

def test_crashes(zoned_crashes):
    with pytest.raises(AssertionError, match="replay=") as caught:
        zoned_crashes(workload, verify, conventional=0)
    with pytest.raises(AssertionError):
        zoned_crashes(workload, verify, conventional=0, replay=caught.value.replay)
""",
    "failing.py": """
import zoned
kept = []

def test_refused(zoned_device):
    zone = zoned_device.zones[-1]
    zoned_device.pwrite(bytes(8192), zone.start)
    zoned_device.pwrite(bytes(4096), zone.start)

def test_leak():
    kept.append(zoned.memory())
""",
}


def test_a_project_of_its_own_tests_with_the_plugin(
    wheel: Path, tmp_path: Path, needs: Callable[[str, bool, str], None]
) -> None:
    """As a new user would: a fresh environment, an empty project, xdist."""
    needs("fuse", os.access("/dev/fuse", os.R_OK | os.W_OK), "the fixture zonefs_mount mounts")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", wheel, "pytest", "pytest-xdist")
    project = tmp_path / "project"
    project.mkdir()
    for name, text in PROJECT.items():
        (project / name).write_text(text, encoding="utf-8")
    pytest_ = [python, "-m", "pytest", "-p", "no:cacheprovider"]
    helped = run(*pytest_, "--fixtures", cwd=project)
    for name in ("device", "device_factory", "image", "crashes", "settings"):
        assert f"zoned_{name}" in helped
    assert "zonefs_mount" in helped
    assert "@pytest.mark.zoned(" in run(*pytest_, "--markers", cwd=project)
    for more, environment, zones in (
        ([], {"ZONED_ZONES": "5"}, "6"),  # the ini file before the environment
        (["--zoned-zones", "7"], {}, "7"),  # the command line before both
    ):
        said = run(*pytest_, "-n", "2", *more, cwd=project, EXPECTED_ZONES=zones, **environment)
        assert "26 passed" in said, said
    (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    said = run(*pytest_, "-k", "settings", cwd=project, EXPECTED_ZONES="5", ZONED_ZONES="5")
    assert "1 passed" in said
    done = subprocess.run(
        [*map(str, pytest_), "failing.py"],
        cwd=project,
        env=elsewhere(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "UnalignedWriteError" in done.stdout
    assert "IMPLICIT_OPEN, wp +8192, durable +0" in done.stdout
    assert "Last commands:\n  write of 8192 bytes at " in done.stdout
    assert "the test left open: <zoned.Device in RAM" in done.stdout
    assert "1 failed, 1 passed, 1 error" in done.stdout
