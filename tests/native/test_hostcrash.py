"""Crashes of the host: what an image can look like after one is enumerated and opened (hostcrash.c).

The core is compiled with its recorder on. A lie of the recorder (a sync that does nothing) must be found:
that proves that the enumeration looks where it matters.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hostcrash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("hostcrash") / "hostcrash"
    core = sorted(str(path) for path in (ROOT / "native/device").glob("*.c"))
    flags = [
        "-std=gnu11",
        "-D_GNU_SOURCE",
        "-DZD_RECORD",
        "-O2",
        "-g",
        "-Wall",
        "-Wextra",
        "-Werror",
    ]
    source = str(ROOT / "tests/native/hostcrash.c")
    command = [
        "gcc",
        *flags,
        f"-I{ROOT / 'native'}",
        "-o",
        str(program),
        source,
        *core,
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return program


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_no_crash_of_the_host_loses_what_was_flushed(hostcrash: Path, long_run: bool) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    workloads = 320 if long_run else 24
    done = run(hostcrash, workloads, seed, 340)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{workloads} workloads, ")
    states = int(done.stdout.split(" crash states")[0].rsplit(" ", 1)[1])
    assert states >= (100_000 if long_run else 5_000)


@pytest.mark.parametrize("lie", ["no-data-sync", "no-entry-sync"])
def test_a_missing_sync_is_found(hostcrash: Path, lie: str) -> None:
    done = run(hostcrash, 20, 1, 300, lie)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "violations" in done.stdout
