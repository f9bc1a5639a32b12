"""What all tests share: hypothesis profiles, the long run, scratch folders in memory, required helpers.

``ZONED_LONG=1`` (``make test-long``) asks for the long proofs: more model steps, more kills, every cut.
``ZONED_REQUIRE=a,b`` names what must be there (``fuse``, ``kernel``, ``root``, ``fio``; any name that a test
gives to ``needs``): a test that needs one of them then fails instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
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


@pytest.fixture(scope="session")
def long_run() -> bool:
    return LONG


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """Of compilers, and of C programs that tests start."""
    import core  # found by the line above that names this folder

    return core.clean_environment()


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
