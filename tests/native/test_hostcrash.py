"""Crashes of the host: what an image can look like after one is enumerated and opened (hostcrash.c).

The core is compiled with its recorder on. That the enumeration looks where it matters is proven by
mistakes that it must find: lies of the recorder (a sync that does nothing), and builds of a core
into which a mistake was put (a sync left out, metadata synced before its data, and the like).
"""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

import pytest

from core import Build, Change

pytestmark = pytest.mark.program

DATA_SYNC = """	if (sync && kind != ZD_COMMIT_RESETS) {
		r = zd_host_sync(dev->fd);
		if (r)
			return sync_failed(dev, r, err);
	}
"""
ENTRIES = """	r = write_entries(dev, items, ZD_TABLE, sync);
	if (r == -ENOSPC || r == -EDQUOT)
		return zd_fail_host(err, -r, "no room on the host for the image's zone entries");
	if (r)
		return sync_failed(dev, r, err);
"""
SET_DIRTY = "	zd_set_dirty(dev, zone);\n"
UNMARK = """	r = unmark(dev, err);
	if (r)
		return r;
	if (sync"""
DEAD_COMMITTER = """			if (zd_zone_peek(dev, zone))
				zd_set_dirty(dev, zone);
"""
SURVIVOR = f"ZD_W_FINISHED | ZD_W_EXTENSION) : 0;\n{SET_DIRTY}"
COPIES = f"""shared state of its zones");
{SET_DIRTY}	return 0;"""
MISTAKES: dict[str, tuple[str, list[Change]]] = {
    "fdatasync-removed": ("commit.c", [(DATA_SYNC, "")]),
    "metadata-before-data": ("commit.c", [(DATA_SYNC, ""), (ENTRIES, ENTRIES + DATA_SYNC)]),
    "moved-zones-taken-for-reset": ("commit.c", [("		if (was_reset(dev, item.zone))\n", "")]),
    "pending-slots-reused": ("slot.c", [("dev->in_ram || !on_disk(rt, slot)", "true")]),
    # numbers that went round
    "larger-number-wins": ("meta.c", [("return (int32_t)(a - b) > 0;", "return a > b;")]),
    # flushes of images that are clean
    "entries-written-while-clean": ("commit.c", [(UNMARK, "	if (sync")]),
    # processes killed in the midst of a flush
    "dead-committer-forgotten": ("lock.c", [(DEAD_COMMITTER, "")]),
    # what writes and crashes that came between left in a gap
    "gaps-not-cleared": (
        "zone.c",
        [
            (
                "	if (!r)\n		r = forget_behind(dev, zone, rt, rel, n);\n",
                "	(void)forget_behind;\n",
            )
        ],
    ),
    "gaps-not-cleared-of-bytes": (
        "zone.c",
        [("	return r ? r : zd_slot_clear(dev, rt->slot - 1, written, rel);", "	return r;")],
    ),
    # what a power cut left, and what a crash between two copies did
    "survivor-not-written": ("power.c", [(SURVIVOR, SURVIVOR.replace(SET_DIRTY, ""))]),
    "copies-left-differing": ("recover.c", [(COPIES, COPIES.replace(SET_DIRTY, ""))]),
}

AREA_MISTAKES: dict[str, tuple[str, list[Change]]] = {
    name: MISTAKES[name] for name in ("fdatasync-removed", "gaps-not-cleared-of-bytes")
} | {
    # what is committed and was never written is zeros
    "commits-not-cleared": (
        "zone.c",
        [("	return r ? r : forget_behind(dev, zone, rt, to, 0);", "	return r;")],
    ),
    # an implicit commit that no entry tells of
    "pointer-not-of-the-word": (
        "zrwa.c",
        [
            (
                "next = zd_word_with_zrwa(dev, word, wp, end > written ? end : written);",
                "next = zd_word_with_zrwa(dev, word, before, end > written ? end : written);",
            )
        ],
    ),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("hostcrash")
    return Build(folder, "hostcrash", flags=["-O2", "-DZD_RECORD"])


@pytest.fixture(scope="module")
def hostcrash(build: Build) -> Path:
    return build.program


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
    # Many lives, each looked at less closely, show more than a few.
    workloads, states_each = (320, 340) if long_run else (24, 130)
    done = run(hostcrash, workloads, seed, states_each)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{workloads} workloads, ")
    states = int(done.stdout.split(" crash states")[0].rsplit(" ", 1)[1])
    assert states >= (100_000 if long_run else 2_500)


def test_nor_does_one_of_a_disk_with_random_write_areas(hostcrash: Path, long_run: bool) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    workloads, states_each = (120, 340) if long_run else (24, 130)
    done = run(hostcrash, workloads, seed, states_each, "areas")
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    states = int(done.stdout.split(" crash states")[0].rsplit(" ", 1)[1])
    assert states >= (30_000 if long_run else 2_500)


@pytest.mark.parametrize("lie", ["no-data-sync", "no-entry-sync"])
def test_a_missing_sync_is_found(hostcrash: Path, lie: str) -> None:
    done = run(hostcrash, 20, 1, 300, lie)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "violations" in done.stdout


@pytest.mark.parametrize("mistake", list(MISTAKES))
def test_a_mistake_in_the_core_is_found(build: Build, tmp_path: Path, mistake: str) -> None:
    done = run(build.with_mistake(*MISTAKES[mistake], tmp_path), 240, 1, 40)
    # A state that the program's own bookkeeping rules out ends it at once.
    assert done.returncode in (3, -signal.SIGABRT), done.stdout + done.stderr
    assert " 0 violations" not in done.stdout
    assert done.returncode == 3 or "does not hold" in done.stderr


@pytest.mark.parametrize("mistake", list(AREA_MISTAKES))
def test_a_mistake_with_areas_is_found(build: Build, tmp_path: Path, mistake: str) -> None:
    done = run(build.with_mistake(*AREA_MISTAKES[mistake], tmp_path), 240, 1, 40, "areas")
    assert done.returncode in (3, -signal.SIGABRT), done.stdout + done.stderr
    assert " 0 violations" not in done.stdout
    assert done.returncode == 3 or "does not hold" in done.stderr
