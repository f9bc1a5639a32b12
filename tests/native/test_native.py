"""The C programs beside this file, built and run: fuzz targets over their kept inputs, and the stress.

``make fuzz`` and ``make tsan`` run the same programs for as long as one likes. What a fuzzer ever found
lies in corpus/ and is replayed here by a plain ASan and UBSan build, without libFuzzer.
"""

from __future__ import annotations

import errno
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from headers import codes, declared, errors

pytestmark = pytest.mark.program

Build = Callable[[str], Path]
HERE = Path(__file__).parent
SECONDS, LONG_SECONDS = 3, 60

Needs = Callable[[str, bool, str], None]


Run = Callable[..., str]


@pytest.fixture
def run(clean_environment: dict[str, str]) -> Run:
    """``run(program, argument, ..., VARIABLE=...)``: what it printed; it ends with 0."""

    def to_its_end(program: Path, *arguments: object, timeout: int = 300, **more: str) -> str:
        done = subprocess.run(
            [str(program), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=clean_environment | more,
        )
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-4000:]}"
        return done.stdout

    return to_its_end


@pytest.mark.parametrize("target", ["image", "commands", "scsi", "nvme", "iscsi", "nvmetcp"])
def test_replay_the_corpus(build: Build, run: Run, target: str) -> None:
    """Everything that was ever worth keeping, findings included."""
    inputs = sorted((HERE / "corpus" / target).iterdir())
    assert len(inputs) >= 50
    printed = run(build(f"replay-{target}"), *inputs)
    assert printed.strip() == f"{len(inputs)} inputs"


@pytest.mark.parametrize("target", ["image", "commands", "scsi", "nvme", "iscsi", "nvmetcp"])
def test_fuzz_a_little(
    build: Build, run: Run, target: str, needs: Needs, tmp_path: Path, long_run: bool
) -> None:
    """From some of the kept inputs; the replay has just tried all of them, which takes the fuzzers most of their time."""
    needs("clang", shutil.which("clang") is not None, "libFuzzer")
    seconds = LONG_SECONDS if long_run else SECONDS
    kept = sorted((HERE / "corpus" / target).iterdir())
    found, seeds = tmp_path / "found", tmp_path / "seeds"
    found.mkdir()
    seeds.mkdir()
    for path in kept if long_run else random.sample(kept, 30):
        shutil.copy(path, seeds)
    run(
        build(f"fuzz-{target}"),
        f"-max_total_time={seconds}",
        "-timeout=30",
        "-max_len=1500",
        f"-artifact_prefix={tmp_path}/",
        found,
        seeds,
        timeout=seconds + 120,
    )


@pytest.mark.parametrize("where", ["RAM", "image"])
@pytest.mark.parametrize("program", ["stress", "stress_areas", "stress_fs"])
def test_stress_under_thread_sanitizer(
    build: Build, run: Run, program: str, where: str, shm: Path, long_run: bool
) -> None:
    """No race, with all threads on one handle. Its deadlock detector holds at most 64 locks of a thread: off."""
    place = [shm / "disk.img"] if where == "image" else []
    printed = run(
        build(f"{program}-tsan"),
        LONG_SECONDS if long_run else SECONDS,
        *place,
        TSAN_OPTIONS="detect_deadlocks=0 halt_on_error=1",
    )
    assert int(printed.split()[0]) > 1000


@pytest.mark.parametrize("handles", [0, 1, 2])
def test_stress(build: Build, run: Run, handles: int, shm: Path, long_run: bool) -> None:
    """No data lost, torn or misplaced: in RAM, on an image, and on an image opened twice."""
    place = [shm / "disk.img", handles] if handles else []
    printed = run(build("stress"), LONG_SECONDS if long_run else SECONDS, *place)
    assert int(printed.split()[0]) > 1000


@pytest.mark.parametrize("where", ["RAM", "image"])
def test_stress_of_areas(build: Build, run: Run, where: str, shm: Path, long_run: bool) -> None:
    """A zone with a random write area is as its one writer left it, and a cut of a fork's power leaves what was committed."""
    place = [shm / "disk.img"] if where == "image" else []
    printed = run(build("stress_areas"), LONG_SECONDS if long_run else SECONDS, *place)
    assert int(printed.split()[0]) > 1000


@pytest.mark.parametrize("where", ["RAM", "image"])
def test_stress_of_the_file_system(
    build: Build, run: Run, where: str, shm: Path, long_run: bool
) -> None:
    """Files of one writer come back as written, whatever the others, and the disk behind them, do."""
    place = [shm / "disk.img"] if where == "image" else []
    printed = run(build("stress_fs"), LONG_SECONDS if long_run else SECONDS, *place)
    assert int(printed.split()[0]) > 1000


@pytest.mark.parametrize("flavour", ["", "-tsan"])
@pytest.mark.parametrize("door", ["scsi", "nvme"])
def test_what_is_aborted_ends_once(
    build: Build, run: Run, door: str, flavour: str, long_run: bool
) -> None:
    """Whoever aborts a task or a command, and by whatever function; and none is left."""
    printed = run(
        build(f"stress_{door}{flavour}"),
        LONG_SECONDS if long_run else SECONDS,
        TSAN_OPTIONS="detect_deadlocks=0 halt_on_error=1",
    )
    assert int(printed.split()[0]) > 1000


@pytest.mark.parametrize("areas", [False, True])
@pytest.mark.parametrize("where", ["RAM", "image"])
@pytest.mark.parametrize("program", ["mixed", "mixed-tsan"])
def test_every_call_mixed(
    build: Build, run: Run, program: str, where: str, areas: bool, shm: Path, long_run: bool
) -> None:
    """Every call at random, with kills, stops, signals and interrupts: sound and clean at the end.

    A failure shows the seed.
    """
    # Each fourth has zones with random write areas.
    seed = 4 * random.SystemRandom().randrange(1, 1 << 29) + (
        0 if areas else random.choice((1, 2, 3))
    )
    place = [shm / "disk.img"] if where == "image" else []
    printed = run(
        build(program),
        LONG_SECONDS if long_run else SECONDS,
        seed,
        *place,
        TSAN_OPTIONS="detect_deadlocks=0 halt_on_error=1",
    )
    assert int(printed.split()[0]) > 500


def test_the_headers_list_every_code_that_a_call_gave(
    build: Build, run: Run, tmp_path: Path, shm: Path
) -> None:
    told = tmp_path / "told"
    seed = random.SystemRandom().randrange(1, 1 << 31)
    run(build("mixed"), SECONDS, seed, shm / "disk.img", ZD_TOLD=str(told))
    numbers = {f"-{name}": -getattr(errno, name) for name in dir(errno) if name.startswith("E")}
    numbers |= codes()
    listed = {name: {numbers[code] for code in found} for name, found in errors().items()}
    given = {(name, int(code)) for name, code in map(str.split, told.read_text().splitlines())}
    assert len({name for name, _ in given}) > 10
    assert sorted((name, code) for name, code in given if code not in listed[name]) == []


def test_the_mixture_leaves_no_call_out() -> None:
    """Each function that a public header of the disk declares is called in mixed.c, and each of
    its threads begins with all; each of an executor's is called in stress_scsi.c or stress_nvme.c.
    """
    wanted = {name for name in declared() if not name.startswith("zd_fs_")}
    scsi = {name for name in wanted if name.startswith("zd_scsi_")}
    assert {"zd_open", "zd_get_interrupt", "zd_rule_name", "zd_trace_read", "zd_crc32c"} <= wanted
    assert {"zd_scsi_exec", "zd_scsi_cancel", "zd_scsi_command_at"} <= scsi
    nvme = {name for name in wanted if name.startswith("zd_nvme_")}
    assert {"zd_nvme_exec", "zd_nvme_cancel", "zd_nvme_command_at"} <= nvme
    programs = {"mixed": wanted - scsi - nvme, "stress_scsi": scsi, "stress_nvme": nvme}
    for program, functions in programs.items():
        text = (HERE / f"{program}.c").read_text(encoding="utf-8")
        assert functions - set(re.findall(r"\b(zd_[a-z0-9_]+)\(", text)) == set(), program
