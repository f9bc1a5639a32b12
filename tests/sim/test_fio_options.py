"""What single options of fio's do: flushes, order between jobs, shares, strides, depths that keep a latency."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import zoned
from sim.helpers import KIB, MIB, disk, run, writer
from zoned.bench import Job, Run
from zoned.bench.fiofile import parse
from zoned.bench.logs import LogFiles
from zoned.bench.runner import execute, execute_real
from zoned.drives.models import Model, load_drive, null_model
from zoned.geometry import Geometry

SMALL = "[global]\ndirect=1\nbs=64k\nsize=4m\n"


def done(
    text: str, model: Model | None = None, geometry: Geometry | None = None, seed: int = 1
) -> Run:
    shape = geometry or disk()
    result = execute(parse(SMALL + text, shape, Path("my.fio")), shape, model or null_model(), seed)
    assert [job.error for job in result.jobs] == [""] * len(result.jobs)
    return result


@pytest.fixture(scope="module")
def hard_disk() -> Model:
    return load_drive("hc620")[1]


# ----------------------------------------------------------------------------------------- flushes


@pytest.mark.parametrize(
    ("text", "syncs"),
    [
        ("rw=write\nfsync=4", 15),  # fio 3.33: none behind the last
        ("rw=write\nfdatasync=8", 7),
        ("rw=read\nfsync=4", 0),
        ("rw=write\nend_fsync=1", 0),
        ("rw=write\nfsync=64", 0),
        ("rw=write\nfsync=1\nioengine=libaio\niodepth=8", 63),
        ("rw=write\nfsync=4\nloops=2", 31),
    ],
)
def test_flushes_come_as_often_as_fios(text: str, syncs: int) -> None:
    result = done(f"[a]\n{text}")
    assert result.jobs[0].syncs == syncs


def test_a_flush_waits_for_the_drives_cache(hard_disk: Model) -> None:
    """64 writes fit into the cache and take no time to speak of; flushed, they take a way of the head each."""
    plain, flushed = (done(f"[a]\nrw=randwrite\n{more}", hard_disk) for more in ("", "fsync=1"))
    assert flushed.now > 20 * plain.now
    total, least, most = flushed.jobs[0].sync_times
    assert 0 < least <= total / 63 <= most
    assert flushed.total(1).mean == pytest.approx(plain.total(1).mean, rel=0.1)


def test_a_write_that_is_sync_takes_the_time_of_the_medium(hard_disk: Model) -> None:
    plain, durable = (done(f"[a]\nrw=randwrite\n{more}", hard_disk) for more in ("", "sync=1"))
    assert durable.total(1).mean > 20 * plain.total(1).mean
    assert durable.total(1).bytes == plain.total(1).bytes == 4 * MIB


def test_the_last_flush_is_part_of_the_run(hard_disk: Model) -> None:
    plain, flushed = (done(f"[a]\nrw=randwrite\n{more}", hard_disk) for more in ("", "end_fsync=1"))
    assert flushed.now > 2 * plain.now
    assert flushed.total(1).mean == plain.total(1).mean


@pytest.mark.parametrize("profile", ["zn540", "st8000as0002"])
def test_every_drive_can_be_flushed(profile: str) -> None:
    loaded, model = load_drive(profile)
    geometry = loaded.geometry()
    text = "[a]\ndirect=1\nbs=64k\nrw=write\nnumber_ios=64\nfsync=8\nsync=1\nend_fsync=1\n"
    zones = "zonemode=zbd\nsize=1z\n" if geometry.nr_conventional == 0 else "size=4m\n"
    result = execute(parse(text + zones, geometry), geometry, model, 1)
    assert (result.jobs[0].error, result.jobs[0].syncs, result.total(1).count) == ("", 7, 64)


def test_flushes_of_a_disk_in_use() -> None:
    """By the wall clock the disk itself is flushed."""
    shape = disk()
    plan = parse(SMALL + "[a]\nrw=write\nfsync=4\nsync=1\nend_fsync=1", shape)
    with zoned.memory(size=64 * MIB, zone_size=4 * MIB, conventional=2) as dev:
        result = execute_real(plan, dev, 1)
        assert (result.jobs[0].error, result.jobs[0].syncs) == ("", 15)
        assert result.total(1).count == 64


# ------------------------------------------------------------------------------- between the jobs


def test_a_job_waits_for_one_that_is_named() -> None:
    result = done(
        "[a]\nrw=read\nnumjobs=2\n[b]\nrw=read\nsize=1m\n[c]\nrw=read\nwait_for=b\n"
        "[d]\nrw=read\nwait_for=a\nstartdelay=1\n"
    )
    a, other, b, c, d = result.jobs
    assert c.started == b.ended
    assert d.started == max(a.ended, other.ended) + 10**9
    assert c.started < d.started


def test_a_name_and_a_wall() -> None:
    """Both must have happened, whichever comes last."""
    text = "[a]\nrw=read\nsize={}\n[b]\nrw=read\nsize={}\n[c]\nstonewall\nrw=read\nwait_for=a\n"
    for sizes in (("1m", "4m"), ("4m", "1m")):
        result = done(text.format(*sizes))
        assert result.jobs[2].started == max(job.ended for job in result.jobs[:2])


@pytest.mark.parametrize(
    ("what", "ended", "later"),
    [("", True, True), ("exit_what=all", True, False), ("exit_what=stonewall", True, True)],
)
def test_exitall_ends_the_others(what: str, ended: bool, later: bool) -> None:
    result = done(
        f"time_based\nrate_iops=100\n{what}\nexitall\n"
        "[a]\nrw=read\nruntime=1\n[b]\nrw=read\nruntime=3\n[c]\nrw=read\nstartdelay=2\nruntime=3\n"
        "[d]\nstonewall\nrw=read\nruntime=1\n"
    )
    a, b, _, d = result.jobs
    assert (b.ended - a.ended < 20 * 10**6) is ended
    assert (d.stats[0].count > 0) is later
    assert a.stats[0].count == pytest.approx(100, abs=2)


def test_exitall_of_a_group_leaves_other_groups_alone() -> None:
    result = done(
        "time_based\nrate_iops=100\n[a]\nrw=read\nruntime=1\nexitall\n[b]\nnew_group\nrw=read\nruntime=3\n"
    )
    assert result.jobs[1].stats[0].count == pytest.approx(300, abs=3)


@pytest.mark.parametrize("rest", ["", "flow_sleep=500\n"])
def test_jobs_share_by_their_weights(rest: str) -> None:
    result = done(
        f"time_based\nruntime=1\n{rest}[a]\nrw=randread\nflow=1\n[b]\nrw=randread\nflow=3\n"
        "[c]\nrw=randread\nflow=1\nflow_id=7\n"
    )
    a, b, c = (job.stats[0].count for job in result.jobs)
    assert b == pytest.approx(3 * a, rel=0.02)
    assert c >= b, "alone with its id, it waits for nobody"


def test_who_shares_with_a_job_that_has_ended_goes_on() -> None:
    result = done("[a]\nrw=randread\nflow=1\nsize=1m\n[b]\nrw=randread\nflow=1\nsize=4m\n")
    assert [job.stats[0].bytes for job in result.jobs] == [MIB, 4 * MIB]


# --------------------------------------------------------------------------------- places and pace


@pytest.mark.parametrize(
    ("text", "zones"),
    [
        # 4 MiB in pieces of 1 MiB, each behind 4 MiB that are skipped: from zone 0 to zone 4
        ("zonemode=strided\nzonesize=1m\nzoneskip=4m", {0: 1024, 1: 1024, 2: 1024, 3: 1024}),
        # half a MiB of each range of 4 MiB, with no gap: eight zones
        ("zonesize=512k\nzonerange=4m", dict.fromkeys(range(8), 512)),
        # a zone twice as large as its range is gone over twice
        ("zonesize=2m\nzonerange=1m\nzoneskip=3m", {0: 2048, 1: 2048}),
        # round again behind the disk's end: 64 MiB are two steps of 32
        ("zonesize=1m\nzoneskip=31m", {0: 2048, 8: 2048}),
    ],
)
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_strides(text: str, zones: dict[int, int], rw: str) -> None:
    whole = (
        "\n[z]\nstonewall\nrw=read\nsize=64m\nnumber_ios=1\n"  # so that the picture is of all zones
    )
    result = done(f"[a]\nrw={rw}\n{text}{whole}", geometry=disk(conventional=16))
    written = [sum(column) for column in zip(*result.picture, strict=True)]
    assert {zone: kib for zone, kib in enumerate(written) if kib} == zones


def test_places_are_aligned() -> None:
    result = done(
        "[a]\nrw=randwrite\nbs=4k\nblockalign=4m\nsize=64m\nnumber_ios=200\n",
        geometry=disk(conventional=16),
    )
    assert result.total(1).bytes == 200 * 4 * KIB
    aligned = done("[a]\nrw=randread\nba=128k,64k\nsize=4m\n")
    assert aligned.total(0).bytes == 4 * MIB


def test_a_poisson_process_keeps_its_rate_and_its_spread() -> None:
    """Gaps that are drawn: their spread is as large as their mean, where a linear rate has none."""
    text = "[a]\nrw=randread\nnorandommap\nrate_iops=1000\ntime_based\nruntime=20\nioengine=libaio\niodepth=256\n"
    poisson, linear = done(text + "rate_process=poisson\n"), done(text)
    assert poisson.total(0).count == pytest.approx(20_000, rel=0.03)
    assert linear.total(0).count == pytest.approx(20_000, rel=0.001)
    steps = [sample.count[0] for sample in poisson.series]
    mean = sum(steps) / len(steps)
    spread = sum((step - mean) ** 2 for step in steps) / len(steps)
    assert spread == pytest.approx(mean, rel=0.35)


def test_workers_give_a_synchronous_engine_depth() -> None:
    text = "[a]\nrw=randread\niodepth=8\nioengine=psync\n"
    shape = disk()
    assert parse(SMALL + text, shape).jobs[0].iodepth == 1
    plan = parse(SMALL + text + "io_submit_mode=offload\n", shape)
    assert (plan.jobs[0].iodepth, plan.notes) == (8, [])


def test_the_depth_that_keeps_a_latency_is_found(hard_disk: Model) -> None:
    loaded, model = load_drive("hc620")
    geometry = loaded.geometry()
    text = (
        "[a]\ndirect=1\nrw=randread\nbs=4k\nsize=4g\nioengine=libaio\niodepth=64\nlatency_target={}\n"
        "latency_window=1s\nlatency_percentile=90\n"
    )
    found = []
    for target in ("30ms", "80ms"):
        result = execute(parse(text.format(target), geometry), geometry, model, 1)
        job = result.jobs[0]
        assert job.error == ""
        found.append(job.depth_found)
        assert job.stats[0].percentile(90) <= 1.1 * int(target[:-2]) * 10**6
        assert result.total(0).runtime < 2 * 10**9, "only the last window counts"
    assert 1 <= found[0] < found[1] < 64


def test_a_latency_that_no_depth_keeps_ends_the_job(hard_disk: Model) -> None:
    shape = disk()
    plan = parse(SMALL + "[a]\nrw=randread\nlatency_target=10us\n", shape)
    result = execute(plan, shape, hard_disk, 1)
    assert "longer than latency_target" in result.jobs[0].error


def test_the_engine_null_leaves_the_drive_alone(hard_disk: Model) -> None:
    result = done("[a]\nrw=randrw\nioengine=null\niodepth=4\n", hard_disk)
    assert result.total(0).bytes + result.total(1).bytes == 4 * MIB
    assert not any(result.parts.values())
    assert result.total(0).maximum < 1000


# --------------------------------------------------------------------------------------- reading back


@pytest.mark.parametrize(
    "more", ["", "verify_backlog_batch=3\n", "bsrange=4k-64k\n", "ioengine=libaio\niodepth=8\n"]
)
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_reading_back_in_between(rw: str, more: str) -> None:
    """As many reads as writes; the first of them before the last write."""
    result = done(f"[a]\nrw={rw}\nverify=crc32c\nverify_backlog=8\n{more}")
    reads, writes = result.total(0), result.total(1)
    assert (reads.count, reads.bytes) == (writes.count, writes.bytes)
    assert reads.first < writes.last
    at_the_end = done(f"[a]\nrw={rw}\nverify=crc32c\n{more.replace('verify_backlog_batch=3', '')}")
    assert at_the_end.total(0).first >= at_the_end.total(1).last


def sent(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Direction, offset and bytes of each command of the first job."""
    monkeypatch.chdir(folder)
    text = f"{SMALL}write_iops_log=x\nlog_offset=1\n{text}"
    plan = parse(text, disk(), Path("my.fio"))
    with LogFiles([job.logs for job in plan.jobs]) as logs:
        assert not execute(plan, disk(), null_model(), 1, logs=logs).jobs[0].error
    rows = [line.split(",") for line in (folder / "x_iops.1.log").read_text().splitlines()]
    return [(int(row[2]), int(row[4]), int(row[3])) for row in rows]


@pytest.mark.parametrize("zones", ["", "zonemode=zbd\n"])
@pytest.mark.parametrize(
    "text",
    [
        "rw=randrw\n",
        "rw=rw\n",
        "rw=randwrite\nnorandommap\n",
        "rw=randwrite\nio_size=1m\n",
        "rw=randwrite\nio_size=6m\n",
        "rw=randwrite\nrandom_distribution=zipf:1.1\n",
        "rw=write\nio_size=6m\n",
        "rw=write\nsize=1000k\nio_size=3m\n",
        "rw=write\nsize=1000k\n",
        "rw=write\nnumber_ios=5\n",
        "rw=write:64k\n",
        "rw=randwrite\nbsrange=16k-64k\nnorandommap\n",
        "rw=write\nbsrange=16k-64k\nio_size=6m\n",
    ],
)
def test_only_what_was_written_is_read_back(
    text: str, zones: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On conventional zones, where no write pointer tells: what lies there in the end, each place once."""
    commands = sent(f"[a]\n{text}{zones}verify=crc32c\n", tmp_path, monkeypatch)
    mixed = "rw=rw" in text or "randrw" in text
    until = 64 if mixed else max(at for at, command in enumerate(commands) if command[0]) + 1
    written = {command[1:] for command in commands if command[0]}
    back = sorted(command[1:] for command in commands[until:])
    assert back
    assert set(back) <= written
    assert all(a[0] + a[1] <= b[0] for a, b in pairwise(back))
    if "bsrange" not in text:
        assert set(back) == written


@pytest.mark.parametrize(("size", "blocks"), [("1m", 21), ("960k", 20)])
def test_reading_back_stays_on_the_disk(size: str, blocks: int) -> None:
    """At its end the last block of a range cannot end behind it, also for a job that went round."""
    text = f"[a]\nrw=write\noffset=63m\nsize={size}\nbs=48k\nio_size=3m\nverify=crc32c\n"
    result = done(text, geometry=disk(conventional=16))
    assert (result.total(1).count, result.total(0).count) == (64, blocks)


# -------------------------------------------------------------------------------- the end of a range


@pytest.mark.parametrize(
    ("text", "count", "bytes_"),
    [
        # A block of one size begins in the range, and may end behind it; one of several sizes fits.
        ("rw=read\nsize=1000k\n", 16, 1024 * KIB),
        ("rw=write\nsize=1000k\nbs=48k\n", 21, 1008 * KIB),
        ("rw=rw\nsize=1000k\n", 16, 1024 * KIB),
        ("rw=write\nsize=1000k\nio_size=3000k\n", 47, 47 * 64 * KIB),
        ("rw=read\nbsrange=4k-64k\nsize=1000k\n", 0, 1000 * KIB),
        ("rw=write\nbssplit=4k/50:64k/50\nsize=1000k\n", 0, 1000 * KIB),
        ("rw=write\nbsrange=16k-64k\nsize=1000k\n", 0, 992 * KIB),
        ("rw=randread\nsize=1000k\n", 15, 960 * KIB),
        ("rw=read:64k\nsize=1000k\n", 8, 512 * KIB),
        # At the end of the disk no block goes on.
        ("rw=read\noffset=63m\nsize=1m\nbs=48k\n", 21, 1008 * KIB),
    ],
)
def test_the_last_block_of_a_range_is_fios(text: str, count: int, bytes_: int) -> None:
    """The figures are fio 3.33's, on a file that is longer than the range, and on conventional zones."""
    for zones in ("", "zonemode=zbd\n"):
        result = done(f"[a]\n{text}{zones}", geometry=disk(conventional=16))
        total = [result.total(at) for at in (0, 1)]
        assert sum(each.bytes for each in total) == bytes_
        assert not count or sum(each.count for each in total) == count


@pytest.mark.parametrize(
    "text",
    [
        "rw=randread:8\n",
        "rw=randwrite:8\nnorandommap\n",
        "rw=randwrite:8\nzonemode=zbd\n",
        "rw=randwrite:24\nzonemode=zbd\noffset=8m\n",
        "rw=randread:24\nzonemode=zbd\nread_beyond_wp\noffset=8m\n",
    ],
)
def test_a_sequence_that_comes_to_the_end_of_the_range_ends_the_job(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in fio; a job that is to go on goes on."""
    commands = sent(f"[a]\n{text}", tmp_path, monkeypatch)
    last = (12 * MIB if "offset" in text else 4 * MIB) - 64 * KIB
    assert len(commands) < 64 or "zbd" in text
    assert commands[-1][1] == last
    assert all(offset < last for _, offset, _ in commands[:-1])
    assert len(sent(f"[a]\n{text}io_size=8m\n", tmp_path, monkeypatch)) == 128


# ---------------------------------------------------------------------------------------------- zones


def test_the_rest_of_a_zone_is_written() -> None:
    """3 MiB of each zone in blocks of 1280 KiB: the last has 512 KiB, where else the zone is finished."""
    geometry = disk(zone_capacity="3MiB", dialect="nullblk")
    job = writer(size=8 * MIB, bs=1280 * KIB)
    finished = run(job, geometry=geometry)
    job.write_remainder = True
    whole = run(job, geometry=geometry)
    assert finished.total(1).bytes == 4 * 1280 * KIB
    assert finished.counts["finishes"] == 2
    assert whole.total(1).bytes == 6 * MIB
    assert whole.counts["finishes"] == 0


def test_write_mode_appends() -> None:
    plan = parse(
        "[a]\ndirect=1\nzonemode=zbd\nrw=write\nwrite_mode=zone_append\n",
        disk(dialect="zns", conventional=0),
    )
    assert plan.jobs[0].append
    assert isinstance(plan.jobs[0], Job)


def test_empty_shares_are_the_rest() -> None:
    """Of fio's own example: 50/5, 30/15, and two with what is left."""
    job = parse(
        SMALL + "[a]\nrw=randread\nrandom_distribution=zoned:50/5:30/15:20/:/\n", disk()
    ).jobs[0]
    assert job.ranges[2][0] == 20
    assert sum(space for _, space in job.ranges) == pytest.approx(100)
    one = parse(
        SMALL + "[a]\nrw=randread\nrandom_distribution=zoned:50/5:30/15:20/\n", disk()
    ).jobs[0]
    assert one.ranges == [(50, 5), (30, 15), (20, 80)]
