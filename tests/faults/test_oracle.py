"""Power cuts by the ten thousand, with kills at any step and a host that runs full, held against a plain model.

The model and the life of the disk are in oracle.py, the processes that use it are tests/native/victim.c. That the
oracle looks where it matters is proven by mistakes put into the core, which it must find.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from faults.oracle import Disk, WrongError

ROOT = Path(__file__).parents[2]
CUTS, LONG_CUTS = 1_500, 100_000
CUTS_EACH = 25
"""Cuts in the life of one disk."""

FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", f"-I{ROOT / 'native'}"]
COUNTED = ["-w", "-U__SANITIZE_THREAD__", "-fsanitize=thread", "-fno-builtin-memcpy"]
WRAPPED = ["pwritev", "pwritev2", "fallocate", "memcpy"]

MISTAKES = {
    # file, what stands there once, what takes its place
    "marks-behind-the-pointer-count": (
        "preimage.c",
        [
            (
                "	if (s.to > end)\n		s.to = end;\n	if (s.from > s.to)\n		s.from = s.to;\n	return s;",
                "	(void)end;\n	return s;",
            ),
            (
                "	if (likely(all.to <= end))\n		return 0;\n",
                "	if (all.to != end + 1000)\n		return 0;\n",
            ),
        ],
    ),
    "bytes-in-a-gap-stay": (
        "io.c",
        [("	return r ? r : zd_slot_clear(dev, rt->slot - 1, written, rel);", "	return r;")],
    ),
    "marked-dirty-when-published": (
        "io.c",
        [
            (
                "	zd_set_dirty(dev, zone);\n	if (zd_asked(zd_view_has(dev, zone)))",
                "	if (zd_asked(zd_view_has(dev, zone)))",
            )
        ],
    ),
    "durable-beyond-a-reset": (
        "runtime.c",
        [
            (
                "		if (durable > written)\n			atomic_compare_exchange_strong(&rt->durable, &durable, written);\n",
                "		(void)durable, (void)written;\n",
            )
        ],
    ),
    "stored-before-it-is-kept": (
        "preimage.c",
        [
            (
                "			r = keep_word(dev, zone, rt, pre, word, mask & ~pair[ZD_PRE_WRITTEN]);",
                "			r = 0;",
            )
        ],
    ),
}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The core, counted, and the program: object files by the names of their sources."""
    folder = tmp_path_factory.mktemp("victim")
    core, victim = sorted((ROOT / "native/device").glob("*.c")), ROOT / "tests/native/victim.c"
    subprocess.run(["gcc", *FLAGS, *COUNTED, "-c", *map(str, core)], check=True, cwd=folder)
    subprocess.run(
        ["gcc", *FLAGS, "-Wall", "-Wextra", "-Werror", "-c", str(victim)], check=True, cwd=folder
    )
    return {source.name: folder / f"{source.stem}.o" for source in [*core, victim]}


def link(objects: Iterable[Path], program: Path) -> Path:
    wrap = "-Wl," + ",".join(f"--wrap={name}" for name in WRAPPED)
    subprocess.run(["gcc", "-o", str(program), *map(str, objects), "-lpthread", wrap], check=True)
    return program


@pytest.fixture(scope="module")
def victim(objects: dict[str, Path]) -> Path:
    return link(objects.values(), objects["victim.c"].with_name("victim"))


def with_mistake(mistake: str, objects: dict[str, Path], folder: Path) -> Path:
    """The program with a core that has a mistake in it."""
    name, changes = MISTAKES[mistake]
    source = (ROOT / "native/device" / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert source.count(old) == 1, f"{name} has no such place any more: {old}"
        source = source.replace(old, new)
    (folder / name).write_text(source, encoding="utf-8")
    wrong = (folder / name).with_suffix(".o")
    include = f"-I{ROOT / 'native/device'}"
    command = ["gcc", *FLAGS, *COUNTED, include, "-c", "-o", str(wrong), str(folder / name)]
    subprocess.run(command, check=True)
    return link((objects | {name: wrong}).values(), folder / "victim")


def live(program: Path, folder: Path, seed: int) -> Counter[str]:
    """One disk's life."""
    folder.mkdir()
    disk = Disk(program, folder, seed)
    try:
        disk.live(CUTS_EACH)
    finally:
        disk.close()
        shutil.rmtree(folder)
    return disk.counts


def live_many(program: Path, folder: Path, seeds: Iterable[int]) -> None:
    for seed in seeds:
        live(program, folder, seed)


def test_no_power_cut_loses_or_invents_a_byte(victim: Path, shm: Path, long_run: bool) -> None:
    first, seen = random.SystemRandom().randrange(1 << 40), Counter[str]()
    wanted = LONG_CUTS if long_run else CUTS
    while seen["cuts"] < wanted:
        seen += live(victim, shm / "life", first + seen["cuts"])
    print(f"first seed {first}: {dict(seen)}")
    # it has seen what it is for
    assert seen["killed"] > wanted / 4 and seen["no room"] > wanted / 40
    for keep in ("durable", "all", "random", "chosen"):
        assert seen[f"cut {keep}"] > wanted / 8


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_in_the_core_is_found(
    objects: dict[str, Path], tmp_path: Path, shm: Path, mistake: str
) -> None:
    program = with_mistake(mistake, objects, tmp_path)
    with pytest.raises(WrongError):
        live_many(program, shm / "life", range(600))
