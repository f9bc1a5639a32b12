"""A process dies at each single store of a command on a zone with a random write area (killstore.c).

That a death in between would be seen is proven by mistakes that are put into the core.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from core import Build, Change

pytestmark = pytest.mark.program

WRAPPED = (
    *("memcpy", "memset", "pthread_mutex_unlock"),
    *("pwritev", "pwritev2", "fdatasync", "ftruncate", "fallocate"),
)
DURABLE = """	if (wp > before)
		make_durable(dev, zone, rt, wp);
"""
PUBLISHED = "memory_order_acq_rel, memory_order_acquire));\n"
STORED = "	r = zd_zone_store_over(dev, rt, zone, rel, &w->source, n, w->lost, done);\n	if (r && !(r == -EINTR && *done)) {\n"
PUBLISH = "zd_zrwa_publish(dev, zone, rt, zd_rule_zrwa_wp(&dev->g.book, zd_word_wp(dev, word), rel + n), rel + n);\n"
MISTAKES: dict[str, tuple[str, list[Change]]] = {
    "committed-before-it-is-durable": (
        "zrwa.c",
        [(DURABLE, ""), (PUBLISHED, PUBLISHED + DURABLE)],
    ),
    "no-more-durable-than-is-written": (
        "zrwa.c",
        [("	if (rt->durable < wp)\n		rt->durable = wp;\n", "")],
    ),
    "pre-images-outlive-a-commit": (
        "zrwa.c",
        [("	zd_pre_commit(dev, zone, wp);\n", "	(void)dev, (void)zone;\n")],
    ),
    "zeros-without-a-place": (
        "commitzrwa.c",
        [("	r = zd_zone_raise(dev, zone, rt, rel);\n", "	r = 0;\n")],
    ),
    "published-before-it-is-stored": ("write.c", [(STORED, f"	{PUBLISH}{STORED}")]),
}
"""From a name to the file and what is wrong in it."""


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder, own = tmp_path_factory.mktemp("killstore"), ("memcpy", "memset")
    flags = [f"-fno-builtin-{name}" for name in own]
    return Build.with_counted_stores(folder, "killstore", WRAPPED, flags=flags)


def run(program: Path, image: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), str(image)], capture_output=True, text=True, timeout=600, check=False
    )


def test_killed_at_every_store(build: Build, shm: Path) -> None:
    done = run(build.program, shm / "disk.img")
    assert done.returncode == 0, done.stdout + done.stderr
    places = {name: int(number) for number, name in map(str.split, done.stdout.splitlines())}
    assert len(places) == 19 and min(places.values()) >= 5, places
    assert sum(places.values()) > 400, places


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_in_the_core_is_found(
    build: Build, tmp_path: Path, shm: Path, mistake: str
) -> None:
    done = run(build.with_mistake(*MISTAKES[mistake], tmp_path), shm / "disk.img")
    assert done.returncode == -signal.SIGABRT, done.stdout + done.stderr
    assert "killed at place" in done.stderr and "does not hold" in done.stderr, done.stderr
