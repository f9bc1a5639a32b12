"""What all tests share: hypothesis profiles, the long run, scratch folders in memory, required helpers.

``ZONED_LONG=1`` (``make test-long``) asks for the long proofs: more model steps, more kills, every cut.
``ZONED_REQUIRE=a,b`` names what must be there (``fuse``, ``kernel``, ``root``, ``fio``; any name that a test
gives to ``needs``): a test that needs one of them then fails instead of being skipped.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Test files import their helpers as `model.reference`, `crash.writers`: from this folder, in any import mode.
sys.path.insert(0, str(Path(__file__).parent))

# A job that a shell put into the background is born with SIGINT ignored, and so would be every process
# that a test starts to press Ctrl-C on. Under nohup the same goes for SIGHUP.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

LONG = os.environ.get("ZONED_LONG", "") not in ("", "0")

_COMMON = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("default", max_examples=150, stateful_step_count=50, **_COMMON)
settings.register_profile(
    "ci", max_examples=150, stateful_step_count=50, derandomize=True, **_COMMON
)
settings.register_profile("long", max_examples=2200, stateful_step_count=100, **_COMMON)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE")
    or ("long" if LONG else "ci" if os.environ.get("CI") else "default")
)


HANGS = 900
"""Seconds after which a test, its fixtures included, counts as one that never ends."""
_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # Not captured yet: what is told of a hang has to reach whoever looks at the run.
    config.stash[_stderr] = os.dup(2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A hang ends the run and says where it was; without this, nobody hears anything until CI's own limit."""
    if LONG:
        return (yield)
    faulthandler.dump_traceback_later(HANGS, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def long_run() -> bool:
    return LONG


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """Of compilers, and of C programs that tests start."""
    import core  # found by the line above that names this folder

    return core.clean_environment()


@pytest.fixture(scope="session")
def preloaded(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str, bool, str], None]
) -> Callable[[str], dict[str, str]]:
    """``preloaded("killat")``: the environment of a process that has native/killat.c in it."""
    import children  # found by the line above that names this folder

    @functools.cache
    def build(name: str) -> Path:
        needs("cc", shutil.which("cc") is not None, "a compiler for the preloaded library")
        library = tmp_path_factory.mktemp(name) / f"{name}.so"
        source = Path(__file__).parent / "native" / f"{name}.c"
        options = ("-D_GNU_SOURCE", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl")
        environment = {n: v for n, v in os.environ.items() if n != "LD_PRELOAD"}
        subprocess.run(["cc", *options], check=True, env=environment)
        return library

    def environment(name: str) -> dict[str, str]:
        libraries = (os.environ.get("LD_PRELOAD"), str(build(name)))
        return children.environment(LD_PRELOAD=":".join(filter(None, libraries)))

    return environment


@pytest.fixture
def shm(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, so that kills and cuts come thick and fast; any folder where there is no tmpfs."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="zoned-test-", dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def needs() -> Callable[[str, bool, str], None]:
    """``needs("root", os.geteuid() == 0, "mounting")``: go on, or skip, or fail if ZONED_REQUIRE asks for it."""

    def check(name: str, there: bool, what_for: str) -> None:
        if there:
            return
        if name in os.environ.get("ZONED_REQUIRE", "").split(","):
            pytest.fail(f"{name} is required by ZONED_REQUIRE and missing: {what_for}")
        pytest.skip(f"needs {name}: {what_for}")

    return check
