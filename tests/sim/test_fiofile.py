"""fio's job files: what is understood, and that nothing is ignored."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pytest

from sim.helpers import KIB, MIB, SECOND, disk
from waiting import PATIENCE
from zoned._core.native import ffi
from zoned.bench import Job
from zoned.bench.fiofile import FioError, Plan, load, parse
from zoned.bench.fiooptions import ALIASES, MODES, OPTIONS, WITHOUT_EFFECT
from zoned.bench.fiovalues import ROOMS
from zoned.bench.limits import limiting
from zoned.bench.runner import execute
from zoned.drives.models import load_drive, null_model
from zoned.geometry import Geometry

ZBD = "zonemode=zbd\ndirect=1\n"
Needs = Callable[[str, bool, str], None]


def job(text: str, geometry: Geometry | None = None) -> Job:
    return parse("[j]\n" + text, geometry or disk()).jobs[0]


def refused(text: str, geometry: Geometry | None = None) -> str:
    with pytest.raises(FioError) as caught:
        parse(text, geometry or disk(), Path("my.fio"))
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------------ options


def test_modes() -> None:
    for mode, (reads, writes, trims, random) in MODES.items():
        extra = ZBD if trims or writes else ""
        extra += f"bs=4k,4k,{4 * MIB}\n" if trims else ""
        found = job(f"rw={mode}\n{extra}")
        assert (found.reads, found.writes, found.trims, found.random) == (
            bool(reads),
            bool(writes),
            bool(trims),
            bool(random),
        )


def test_mode_with_a_number() -> None:
    assert job("rw=randread:8").sequence == 8
    assert job("rw=read:64k").sequence_add == 64 * KIB
    assert job("rw=read:-128k").sequence_add == -128 * KIB
    assert job("rw=randread:8\nrw_sequencer=identical").identical


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4k", 4096),
        ("4K", 4096),
        ("4kb", 4096),
        ("1m", MIB),
        ("1MiB", 1000**2),
        ("0x10000", 65536),
        ("512", 512),
        ("2g", 2**31),
        ("64ki", 64000),
    ],
)
def test_sizes_as_fio_reads_them(text: str, size: int) -> None:
    assert job(f"rw=read\nio_size={text}").io_size == size


def test_kb_base_turns_the_prefixes_round() -> None:
    assert job("rw=read\nkb_base=1000\nio_size=4k").io_size == 4000
    assert job("rw=read\nio_size=4k\nkb_base=1000").io_size == 4000, "wherever it stands"
    assert job("rw=read\nkb_base=1000\nio_size=4ki").io_size == 4096


def test_block_sizes() -> None:
    assert job("rw=read\nbs=4k,8k").bs_min == [4096, 8192, 8192]
    assert job("rw=read\nbsrange=4k-64k").bs_max == [65536] * 3
    assert job("rw=read\nbssplit=4k/50:64k/50").split[0] == [(4096, 50), (65536, 50)]
    assert job("rw=read\nbssplit=4k/10:8k/:16k").split[0] == [(4096, 10), (8192, 45), (16384, 45)]
    assert job("rw=read\nbssplit=4k/50:64k,128k").split[1] == [(131072, 100)]


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("bs=8k", [8192, 8192, 8192]),
        ("bs=8k,", [8192, 4096, 4096]),
        ("bs=8k,16k", [8192, 16384, 16384]),
        ("bs=,16k", [4096, 16384, 16384]),
        ("bs=8k,,32k", [8192, 4096, 32768]),
        ("bs=8k ; a comment", [8192, 8192, 8192]),
        ("bs=8k # another", [8192, 8192, 8192]),
    ],
)
def test_block_sizes_by_direction_as_fio_prints_them(
    text: str, sizes: list[int], tmp_path: Path, needs: Needs
) -> None:
    assert job(f"rw=rw\n{text}").bs_min == sizes
    needs("fio", shutil.which("fio") is not None, "asking fio the same")
    path = tmp_path / "a.fio"
    path.write_text(f"[j]\nioengine=null\nsize=1m\nrw=rw\n{text}\n", encoding="utf-8")
    said = subprocess.run(["fio", str(path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.findall(r"\([RWT]\) ([\d.]+)(B|KiB)-", said)
    assert [int(float(n) * (1024 if unit == "KiB" else 1)) for n, unit in found[:3]] == sizes


def test_what_stands_nearer_to_the_job_overrides() -> None:
    """A section's bs wins over bssplit in [global]; within a section bssplit wins over bs."""
    text = "[global]\nrw=read\nbssplit=4k/50:64k/50\n[a]\nbs=8k\n[b]\n[c]\nbs=8k\nbssplit=4k/50:64k/50\n"
    a, b, c = parse(text, disk()).jobs
    assert (a.split[0], a.bs_min[0]) == ([], 8192)
    assert len(b.split[0]) == len(c.split[0]) == 2
    d = parse("[a]\nrw=read\nbssplit=4k/50:64k/50\n", disk(), overrides={"bs": "16k"}).jobs[0]
    assert (d.split[0], d.bs_min[0]) == ([], 16384)


def test_zones_and_percentages() -> None:
    found = job(f"rw=write\noffset=2z\nsize=3z\n{ZBD}")
    assert (found.offset, found.size) == (8 * MIB, 12 * MIB)
    assert job("rw=read\nsize=50%").size == 32 * MIB
    assert job("rw=read").size == 64 * MIB
    assert job("rw=read\noffset=8m\nio_size=1z").io_size == 4 * MIB
    assert job("rw=read\nsize=8m\nio_size=50%").io_size == 4 * MIB, "of size, as fio"
    assert job("rw=read\noffset=7%").offset == -(-int(64 * MIB * 0.07) // 4096) * 4096
    assert job("rw=read\noffset=75%\nsize=50%").size == 16 * MIB, "of the disk, cut at its end"


def test_times() -> None:
    found = job("rw=read\nruntime=2m\nramp_time=500ms\nthinktime=7\nstartdelay=3\ntime_based")
    assert (found.runtime, found.ramp, found.thinktime, found.startdelay) == (
        120 * SECOND + SECOND // 2,  # ramp_time comes on top
        SECOND // 2,
        7000,
        3 * SECOND,
    )
    assert found.time_based


def test_zone_options() -> None:
    found = job(
        f"rw=randwrite\nmax_open_zones=3\njob_max_open_zones=2\nzone_reset_threshold=0.3\nzone_reset_frequency=0.01\nread_beyond_wp=1\nignore_zone_limits\n{ZBD}"
    )
    assert (found.max_open_zones, found.job_max_open_zones) == (3, 2)
    assert (found.reset_threshold, found.reset_frequency) == (0.3, 0.01)
    assert found.read_beyond_wp
    assert found.ignore_zone_limits
    assert job(f"rw=write\nzone_append\n{ZBD}").append


def test_distributions() -> None:
    assert (
        job("rw=randread\nrandom_distribution=zipf:1.2").distribution,
        job("rw=randread\nrandom_distribution=zipf:1.2").a,
    ) == ("zipf", 1.2)
    hot = job("rw=randread\nrandom_distribution=zoned:90/10:10/90")
    assert (hot.distribution, hot.ranges) == ("zoned", [(90, 10), (10, 90)])
    four = job("rw=randread\nrandom_distribution=zoned:60/10:30/20:8/30:2/40")
    assert four.ranges == [(60, 10), (30, 20), (8, 30), (2, 40)]


def test_where_a_zoned_distribution_lands() -> None:
    """60 % of the writes on the first tenth of the range, and so on: seen in the picture of zones."""
    text = "[j]\nrw=randread\nnorandommap\nbs=4k\nnumber_ios=20000\nio_size=1g\nrandom_distribution=zoned:60/25:30/25:8/25:2/25\n"
    geometry = disk(conventional=16)
    result = execute(parse(text.replace("read", "write"), geometry), geometry, null_model(), 1)
    quarters = [0] * 4
    for row in result.picture:
        for at, kib in enumerate(row):
            quarters[at * 4 // result.bins] += kib
    shares = [100 * kib / sum(quarters) for kib in quarters]
    assert shares == pytest.approx([60, 30, 8, 2], abs=1.5)


def test_rates_and_mixes() -> None:
    found = job("rw=randrw\nrwmixread=30\nrate=1m,2m\nrate_iops=,100\n" + ZBD)
    assert (found.mix_read, found.rate[:2], found.rate_iops[1]) == (30, [MIB, 2 * MIB], 100)
    assert job("rw=randrw\nrwmixwrite=80\n" + ZBD).mix_read == 20


def test_global_applies_to_what_follows() -> None:
    plan = parse(
        "[global]\nbs=8k\n[a]\nrw=read\n[global]\nbs=16k\n[b]\nrw=read\n[c]\nrw=read\nbs=4k\n",
        disk(),
    )
    assert [j.bs_min[0] for j in plan.jobs] == [8192, 16384, 4096]


def test_numjobs_groups_and_stages() -> None:
    plan = parse(
        "[global]\nrw=read\n[a]\nnumjobs=3\noffset_increment=2z\nsize=2z\ngroup_reporting\n[b]\n[c]\nstonewall\nnumjobs=2\n[d]\nnew_group\n",
        disk(),
    )
    assert [j.name for j in plan.jobs] == ["a", "a", "a", "b", "c", "c", "d"]
    assert [j.offset for j in plan.jobs[:3]] == [0, 8 * MIB, 16 * MIB]
    assert [j.group for j in plan.jobs] == [0, 0, 0, 0, 1, 1, 2]
    assert [j.wait_for for j in plan.jobs] == [0, 0, 0, 0, 4, 4, 4]


def test_engines_and_depth() -> None:
    assert job("rw=read\nioengine=libaio\niodepth=16").iodepth == 16
    plan = parse("[j]\nrw=read\nioengine=psync\niodepth=16\n", disk())
    assert plan.jobs[0].iodepth == 1
    assert any("synchronous" in note for note in plan.notes)


def test_ranges_are_rounded_to_zones_as_fio_does() -> None:
    plan = parse(f"[j]\nrw=write\noffset=9m\nsize=21m\n{ZBD}", disk())
    assert (plan.jobs[0].offset, plan.jobs[0].size) == (12 * MIB, 16 * MIB), "fio keeps the end"
    assert len(plan.notes) == 2
    several = parse(f"[j]\nrw=write\nnumjobs=3\noffset=9m\nsize=21m\n{ZBD}", disk())
    assert {(j.offset, j.size) for j in several.jobs} == {(12 * MIB, 16 * MIB)}
    assert several.notes == plan.notes, "said once"
    beyond = f"[j]\nrw=write\nnumjobs=2\noffset_increment=61m\n{ZBD}"
    assert "offset_increment=61m: no whole zone lies behind it" in refused(beyond)


@pytest.mark.parametrize("rw", ["write", "randwrite", "randread", "rw"])
def test_ranges_of_conventional_zones_stay_as_they_are(rw: str) -> None:
    found = job(f"rw={rw}\noffset=1m\nsize=3m\n{ZBD}")
    assert (found.offset, found.size) == (MIB, 3 * MIB)
    found = job(f"rw={rw}\noffset=1m\nsize=15m\n{ZBD}")
    assert (found.offset, found.size) == (4 * MIB, 12 * MIB), "it ends in sequential ones"


def test_comments_includes_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_BS", "32k")
    (tmp_path / "common.fio").write_text("[global]\nbs=${MY_BS}\n", encoding="utf-8")
    path = tmp_path / "a.fio"
    path.write_text(
        "; a comment\n# another\ninclude common.fio\n\n[j]\n  rw = read\n", encoding="utf-8"
    )
    assert load(path, disk()).jobs[0].bs_min[0] == 32 * KIB


def test_overrides_win(tmp_path: Path) -> None:
    path = tmp_path / "a.fio"
    path.write_text("[j]\nrw=read\nbs=4k\n", encoding="utf-8")
    assert load(path, disk(), {"bs": "64k"}).jobs[0].bs_min[0] == 64 * KIB
    with pytest.raises(FioError, match="command line: the option bsz is unknown"):
        load(path, disk(), {"bsz": "64k"})


def test_loops_repeat_the_size() -> None:
    found = job("rw=read\nsize=8m\nloops=3")
    assert (found.loops, found.io_size) == (3, 0)
    result = execute(
        parse("[j]\nrw=read\nsize=8m\nloops=3\n", disk(conventional=16)),
        disk(conventional=16),
        null_model(),
        1,
    )
    assert result.total(0).bytes == 24 * MIB


def test_verify() -> None:
    assert job(f"rw=write\nverify=crc32c\n{ZBD}").verify
    assert not job(f"rw=write\nverify=crc32c\ndo_verify=0\n{ZBD}").verify


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[j]\nrw=read\nbsz=4k",
            r"my.fio:3: the option bsz is unknown or not supported here \(did you mean bs\?\)",
        ),
        ("[j]\nrw=read\natomic=1", "my.fio:3: the option atomic is unknown or not supported"),
        ("[j]\nrw=read\nnum_range=1", "my.fio:3: the option num_range"),
        ("[j]\nrw=readd", "my.fio:2: rw=readd: there is no such mode"),
        ("[j]\nrw=read\nbs=4q", "my.fio:3: bs=4q: '4q' is not a size"),
        ("[j]\nrw=read\nbs=0", "must be above 0"),
        ("[j]\nrw=read\nbs", "the option bs needs a value"),
        ("[j]\nrw=read\nbsrange=64k-4k", "the range must rise"),
        ("[j]\nrw=read\nbssplit=4k/50:8k/40", "add up to 90"),
        ("[j]\nrw=read\nbssplit=4k/x", "'x' is not a percentage"),
        ("[j]\nrw=read\niodepth=0", "it must be 1 to 65536"),
        ("[j]\nrw=read\nruntime=soon", "not a time"),
        ("[j]\nrw=read\nzonemode=strided", "my.fio:3: zonemode=strided: it needs zonesize"),
        ("[j]\nrw=read\nzonemode=zbc", "there are none, zbd and strided"),
        ("[j]\nrw=read\nzonemode=none\nzonesize=1m", "0 or the disk's zone size, 4194304"),
        (
            "[j]\nrw=read\nzonemode=zbd\nzoneskip=1m",
            "my.fio:4: zoneskip=1m: it is of zonemode=strided",
        ),
        ("[j]\nrw=read\nzonesize=1m\nzonerange=1000", "no multiple of the disk's block, 4096"),
        ("[j]\nrw=read\nzonesize=1m\nzoneskip=2t", "the disk has only"),
        ("[j]\nrw=trim\nzonesize=1m", "trims are zone resets here"),
        ("[j]\nrw=read\nzonecapacity=1m", "only for disks without zones"),
        ("[j]\nrw=read\ndirect=0", "buffered I/O is not simulated"),
        ("[j]\nrw=write\nzonemode=zbd", "zonemode=zbd with writes needs direct=1"),
        ("[j]\nrw=write\nzone_append", "zone appends need zonemode=zbd"),
        ("[j]\nrw=trim", "trims are zone resets here, and need zonemode=zbd"),
        ("[j]\nrw=read\ntime_based", "it needs runtime"),
        ("[j]\nrw=read\nsize=65m", "from offset 0 on the disk has 67108864 bytes left"),
        ("[j]\nrw=read\noffset=1g", "offset 1073741824 is beyond the disk"),
        (
            "[j]\nrw=read\noffset=60m\nsize=8m",
            "from offset 62914560 on the disk has 4194304 bytes left",
        ),
        ("[j]\nrw=read\nioengine=rados", "supported are sync"),
        ("[j]\nrw=randread\nrandom_distribution=zipf:1", "exactly 1 has no sum"),
        (
            "[j]\nrw=randread\nrandom_distribution=zoned:50/5:30/15:10/80",
            "my.fio:3: random_distribution=.*: the accesses add up to 90, not to 100",
        ),
        ("[j]\nrw=randread\nrandom_distribution=zoned:50", "write accesses/space in percent"),
        (
            "[j]\nrw=randread\nexitall\nexit_what=one",
            "only group and all and stonewall can be had here",
        ),
        ("[j]\nrw=read\nwait_for=j", "my.fio:3: wait_for=j: a job cannot wait for itself"),
        ("[j]\nrw=read\nwait_for=k\n[k]", "my.fio:3: wait_for=k: no job above it has this name"),
        ("[k]\n[k]\n[j]\nrw=read\nwait_for=k", "2 sections above it have this name"),
        ("[j]\nrw=read\nsync=maybe", "there are none, sync, dsync, 0 and 1"),
        ("[j]\nrw=randread\nblockalign=1000", "must be a multiple of the disk's block, 4096"),
        ("[j]\nrw=read\nwrite_mode=verify", "only write and zone_append can be had here"),
        ("[j]\nrw=read\nioengine=null\nzonemode=zbd", "the engine null has no zones"),
        ("[j]\nrw=read\nfilename=/dev/a:/dev/b", "my.fio:3: .*a list of files cannot be had"),
        ("[j]\nrw=read\nbs=4k,4k,4k,4k", "my.fio:3: .*at most three values"),
        (
            "[j]\nrw=read\nbs=4k\nbsrange=4k-8k",
            r"my.fio:4: bsrange=4k-8k: it contradicts bs \(my.fio:3\)",
        ),
        ("[j]\nrw=read\nthinktime_spin=5", "my.fio:3: .*a part of thinktime"),
        (f"[j]\nrw=trim\n{ZBD}bs=64k", "my.fio:5: bs=64k: a trim resets a zone, .* 4194304"),
        (
            f"[j]\nrw=write\n{ZBD}bs=80k\nverify=md5",
            "my.fio:6: verify=md5: the block size 81920 is no divisor of the zone size",
        ),
        (f"[j]\nrw=write\n{ZBD}offset=63m", "my.fio:5: offset=63m: no whole zone lies behind it"),
        ("[j]\nrw=read\nbs=5k", "my.fio:3: bs=5k: 5120: it is no multiple of the disk's block"),
        ("[j]\nrw=read\nbs=8m", "my.fio:3: bs=8m: 8388608: it is larger than a zone's capacity"),
        ("[j]\nrw=read\nio_size=150%", "my.fio:3: io_size=150%: it must be 0 to 100"),
        ("[j]\nrw=randread\nrandom_distribution=poisson", "supported are random, zipf"),
        ("[j]\nrw=read\nrate_process=uneven", "only linear and poisson can be had here"),
        ("[j]\nrw=read\ncontinue_on_error=all", "only none and 0 can be had"),
        ("[j]\nrw=randrw\nrwmixread=101", "it must be 0 to 100"),
        (f"[j]\nrw=write\nverify=md6\n{ZBD}", "supported are md5"),
        (f"[j]\nrw=write\nzone_reset_frequency=2\n{ZBD}", "it must be 0 to 1"),
        (f"[j]\nrw=write\noffset=2z\nsize=1m\n{ZBD}", "in zone mode it must hold a zone"),
        ("bs=4k\n[j]\nrw=read", "stands before the first section"),
        ("[j\nrw=read", "is not a section"),
        ("[j]\nrw=read\nbs=", "my.fio:3: the option bs needs a value behind its ="),
        ("[j]\nrw=read\nrate=,,", "my.fio:3: the option rate needs a value behind its ="),
        ("[j]\nrw=read\nkb_base=1001", "kb_base=1001: it must be 1000 or 1024"),
        (
            f"[j]\nrw=randrw\nrwmixread=70\nrwmixwrite=40\n{ZBD}",
            r"my.fio:4: rwmixwrite=40: with rwmixread \(my.fio:3\) it does not add up to 100",
        ),
        ("", "there is no job section"),
        ("[global]\nbs=4k", "there is no job section"),
        ("[j]\nrw=read\nbs=${NO_SUCH_VARIABLE_HERE}", "no variable NO_SUCH_VARIABLE_HERE"),
        ("include nowhere.fio\n[j]\nrw=read", "cannot include nowhere.fio"),
    ],
)
def test_errors_name_file_line_and_option(text: str, message: str) -> None:
    assert re.search(message, refused(text)), refused(text)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.fio"
    path.write_bytes(b"[j]\nrw=\xff\xfe\n")
    with pytest.raises(FioError, match="not a text file"):
        load(path, disk())


def test_more_writers_than_open_zones_are_announced() -> None:
    """fio quits those silently."""
    plan = parse(
        f"[j]\nrw=write\nnumjobs=6\noffset=2z\noffset_increment=2z\nsize=2z\n{ZBD}",
        disk(max_open=4),
    )
    assert any("only 4 zones may be open" in note for note in plan.notes)
    result = execute(plan, disk(max_open=4), null_model(), 1)
    assert sum(j.stats[1].count > 0 for j in result.jobs) == 4
    assert sum(j.stopped for j in result.jobs) == 2
    assert "2 jobs stopped early: no zone was left within the open limit" in limiting(result)


def test_one_limit_of_open_zones_for_a_disk() -> None:
    """fio refuses two values, and one above the disk's own."""
    text = f"[global]\nrw=randwrite\n{ZBD}[a]\nmax_open_zones=2\n[b]\nmax_open_zones=3\n"
    assert "my.fio:8: max_open_zones=3: job a says 2, and it is one limit" in refused(text)
    text = f"[a]\nrw=randwrite\n{ZBD}max_open_zones=9\n"
    assert "my.fio:5: max_open_zones=9: the disk has 4 open zones at most" in refused(
        text, disk(max_open=4)
    )
    found = job(f"rw=randwrite\n{ZBD}max_open_zones=9\nignore_zone_limits=1", disk(max_open=4))
    assert found.max_open_zones == 9


def test_what_stands_behind_a_stonewall_begins_with_it() -> None:
    text = "[global]\nrw=randread\nsize=4m\n[a]\n[b]\nstonewall\n[c]\n[d]\nnumjobs=2\n[e]\nstonewall\n[f]\n"
    plan = parse(text, disk())
    assert [(job.name, job.wait_for, job.group) for job in plan.jobs] == [
        *(("a", 0, 0), ("b", 1, 1), ("c", 1, 1), ("d", 1, 1), ("d", 1, 1), ("e", 5, 2)),
        ("f", 5, 2),
    ]
    run = execute(plan, disk(), null_model(), 1)
    ends = {job.job.name: (job.started, job.ended) for job in run.jobs}
    assert ends["c"][0] == ends["b"][0] >= ends["a"][1] > 0
    assert ends["f"][0] == ends["e"][0] >= max(ends["c"][1], ends["d"][1])


@pytest.mark.parametrize("option", ["runtime", "ramp_time", "startdelay", "thinktime"])
def test_a_time_that_no_clock_holds_is_refused_with_file_and_line(option: str) -> None:
    assert f"my.fio:3: {option}=999999999999d: it must be at most 146 years" in refused(
        f"[j]\nrw=read\n{option}=999999999999d"
    )


@pytest.mark.parametrize("mode", ["rw", "randrw"])
def test_a_mixed_job_on_conventional_zones_reads_too(mode: str) -> None:
    plan = parse(f"[j]\nrw={mode}\n{ZBD}bs=4k\nsize=8m\nio_size=1m\n", disk())
    reads, writes, _ = execute(plan, disk(), null_model(), 1).jobs[0].stats
    assert reads.count + writes.count == 256
    assert reads.count > 80
    assert writes.count > 80


def test_a_mixed_job_begins_with_a_write_where_nothing_is_written() -> None:
    plan = parse(f"[j]\nrw=randrw\n{ZBD}bs=4k\noffset=8m\nrwmixread=99\nio_size=1m\n", disk())
    reads, writes, _ = execute(plan, disk(), null_model(), 1).jobs[0].stats
    assert (reads.count + writes.count, writes.first) == (256, 0)
    assert reads.first > 0


def test_a_trimmed_zone_is_no_longer_open() -> None:
    """Two zones may be written at once; both are, in part, and trimmed: then there is room again."""
    text = (
        f"[global]\n{ZBD}max_open_zones=2\n"
        "[w]\nrw=randwrite\nbs=1m\noffset=8m\nsize=8m\nio_size=2m\nrandseed=3\n"
        f"[t]\nstonewall\nrw=trim\nbs=4k,4k,{4 * MIB}\noffset=8m\nsize=8m\n"
        "[x]\nstonewall\nrw=write\nbs=1m\noffset=32m\nsize=8m\n"
    )
    run = execute(parse(text, disk()), disk(), null_model(), 1)
    assert run.jobs[1].stats[2].count == 2
    assert not run.jobs[2].stopped
    assert run.jobs[2].stats[1].count == 8


@pytest.mark.parametrize("sizes", ["bsrange=4k-32k", "bssplit=4k/50:16k/25:64k/25"])
@pytest.mark.parametrize("mode", ["write", "randwrite"])
@pytest.mark.parametrize("zones", [ZBD, "direct=1\n"])
def test_verify_reads_blocks_as_they_were_written(sizes: str, mode: str, zones: str) -> None:
    where = "offset=8m\n" if zones == ZBD else ""
    text = f"[j]\nrw={mode}\n{zones}{where}{sizes}\nsize=8m\nverify=crc32c\nnumber_ios=121\n"
    geometry = disk() if where else disk(conventional=16)
    reads, writes, _ = execute(parse(text, geometry), geometry, null_model(), 1).jobs[0].stats
    assert (writes.count, reads.count) == (121, 121)
    assert reads.bytes == writes.bytes


def test_verify_with_several_sizes_in_loops_and_of_one_size() -> None:
    text = f"[j]\nrw=write\n{ZBD}offset=8m\nbsrange=4k-32k\nsize=4m\nverify=md5\nloops=3\n"
    reads, writes, _ = execute(parse(text, disk()), disk(), null_model(), 1).jobs[0].stats
    assert reads.count == writes.count > 3 * 100
    text = text.replace("bsrange=4k-32k", "bs=16k")
    reads, writes, _ = execute(parse(text, disk()), disk(), null_model(), 1).jobs[0].stats
    assert reads.count == writes.count == 3 * 256


def test_all_unsupported_options_are_named_in_one_go(tmp_path: Path) -> None:
    """Each with its file and line, those of an included file too, of which nothing is shown."""
    (tmp_path / "more.fio").write_text("sprandom=1\nbs=4k\n", encoding="utf-8")
    (tmp_path / "my.fio").write_text(
        "[global]\nsprandom=1\nrw=read\ninclude more.fio\n[j]\nzonmode=zbd\nskip_bad=1\n"
    )
    with pytest.raises(FioError) as caught:
        load(tmp_path / "my.fio", disk())
    assert str(caught.value) == (
        f"{tmp_path}/my.fio:2: the option sprandom is unknown or not supported here; "
        f"so are one at {tmp_path}/more.fio:1, "
        f"zonmode at {tmp_path}/my.fio:6 (did you mean zonemode?), "
        f"skip_bad at {tmp_path}/my.fio:7"
    )
    two = refused("[j]\nskip_bad=1\nsprandom=1\n")
    assert two.endswith("not supported here; so is sprandom at my.fio:3")
    many = refused("[j]\n" + "skip_bad=1\n" * 1000)
    assert many.count("my.fio:") == 40
    assert many.endswith(", and 960 options more")


def test_values_that_are_not_supported_are_named_in_one_go_too() -> None:
    """Each once, also where several sections have them from [global], and behind the unknown options."""
    text = (
        "[global]\ndirect=0\nreadfua=1\nrw=read\n[a]\nsg_write_mode=verify\n[b]\nbs=x\nskip_bad=1\n"
    )
    parts = refused(text).split("; ")
    assert [part.split(": ")[0] for part in parts] == [
        "my.fio:9",
        *("my.fio:2", "my.fio:3", "my.fio:6", "my.fio:8"),
    ]
    assert parts[1].startswith("my.fio:2: direct=0: ")
    many = refused("".join(f"[j{at}]\nbs=x\n" for at in range(50)))
    assert many.count("my.fio:") == 10
    assert many.endswith("; and 40 values more")


def test_a_file_of_unknown_options_is_refused_in_time_whatever_its_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the options that are named are looked up among their like, which takes its time."""
    looked = []

    def look(*args: Any, **keywords: Any) -> list[str]:
        looked.append(args[0])
        assert len(looked) <= 40
        return get_close_matches(*args, **keywords)

    monkeypatch.setattr("zoned.bench.fiofile.difflib.get_close_matches", look)
    began = time.monotonic()
    many = refused("[j]\n" + "rate_percentiles_ok\n" * 20_000)
    assert time.monotonic() - began < PATIENCE
    assert many.startswith(
        "my.fio:2: the option rate_percentiles_ok is unknown or not supported here (did you mean "
        "lat_percentiles?); so are rate_percentiles_ok at my.fio:3 (did you mean lat_percentiles?), "
    )
    assert many.endswith(" at my.fio:41 (did you mean lat_percentiles?), and 19960 options more")


def test_options_without_effect_are_said_once_in_one_list() -> None:
    text = (
        "[global]\nname=x\ndirectory=/tmp\nwrite_hist_log=log\nthread\nrw=read\nsize=4m\n"
        "[a]\nnumjobs=3\ngtod_reduce=1\n[b]\nname=y\nbuffered=1\n"
    )
    plan = parse(text, disk(), overrides={"cpus_allowed_policy": "split"})
    assert [note for note in plan.notes if "effect" in note] == [
        (
            "without effect in virtual time: buffered, cpus_allowed_policy, directory, gtod_reduce, "
            "name, thread, write_hist_log"
        )
    ]
    assert not any("effect" in note for note in parse("[j]\nrw=read\n", disk()).notes)


def test_no_option_is_both_used_and_without_effect() -> None:
    assert not set(OPTIONS) & WITHOUT_EFFECT
    assert set(ALIASES.values()) <= set(OPTIONS)


def test_a_declaration_alone_brings_an_option_to_the_core() -> None:
    """Each option that is a field of Job is parsed into it, and the core's job has the value."""
    seen = 0
    for one in fields(Job):
        if "fio" not in one.metadata:
            continue
        declared = OPTIONS[one.metadata["fio"].name]
        words = re.fullmatch(r"\S+ or (\S+)", declared.values)
        text = words[1] if words else "0.5" if declared.values == "0 to 1" else "7"
        if one.default is True:
            text = "0"
        extra = f"rw=write\nioengine=libaio\nruntime=9\n{ZBD}" if one.name != "runtime" else ""
        extra += "iodepth=16\nsteadystate=iops:1%\nsteadystate_duration=14\n"
        made = job(f"{extra}{declared.name}={text}\n")
        value = getattr(made, one.name)
        assert value != one.default, declared.name
        if one.name in {name for name, _ in ffi.typeof("struct zd_sim_job").fields}:
            assert getattr(made.to_c(), one.name) == value, declared.name
            seen += 1
    assert seen > 15


def test_every_field_of_the_core_is_a_field_of_a_job() -> None:
    names = {one.name for one in fields(Job)}
    for name, _ in ffi.typeof("struct zd_sim_job").fields:
        assert name in names or name.startswith(("reserved", "nr_")), name


def test_options_have_a_room_and_a_line_of_help() -> None:
    for one in OPTIONS.values():
        assert one.room in ROOMS
        assert one.about
        assert one.values
        assert "|" not in one.about + one.values


def test_every_option_is_one_of_fio(needs: Needs) -> None:
    """fio itself knows each name that is taken here."""
    needs("fio", shutil.which("fio") is not None, "asking fio for its options")
    known = subprocess.run(
        ["fio", "--cmdhelp"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    names = {line.split(":")[0].strip() for line in known.splitlines() if ":" in line}
    # These belong to an engine, or came after the oldest fio in use.
    engine = {
        "zone_append",
        "hipri",
        "fixedbufs",
        "registerfiles",
        "sqthread_poll",
        "nonvectored",
        "ignore_zone_limits",
        "cmd_type",
        "sqthread_poll_cpu",
        "write_mode",
        "write_zone_remainder",
        "softrandommap",  # it takes it, and does not list it
        "threads",  # so, too: its examples have it
        *("writefua", "readfua", "sg_write_mode", "md_per_io_size", "pi_act", "pi_chk", "apptag"),
        *("apptag_mask", "cmdprio", "cmdprio_bssplit", "cmdprio_class", "cmdprio_hint"),
        *("cmdprio_percentage", "recover_zbd_write_error", "steadystate_check_interval"),
        *("verify_write_sequence", "nr_files", "iodepth_batch_submit"),
        # Of its command line.
        *("debug", "aux-path", "alloc-size", "max-jobs", "status-interval", "eta-interval"),
        *("eta-newline", "warnings-fatal"),
    }
    missing = {name for name in [*OPTIONS, *WITHOUT_EFFECT] if name not in names} - engine
    assert missing - {"stats", "eta"} == set()


# ------------------------------------------------------------------------------- the published runs


def test_the_fio_page_as_it_is_written() -> None:
    """zonedstorage.io's random write example, from its own command line."""
    text = (
        "[zbc]\nfilename=/dev/sdd\ndirect=1\nzonemode=zbd\noffset=140660178944\nnumjobs=4\ngroup_reporting=1\n"
        "runtime=30\nioengine=libaio\niodepth=4\nrw=randwrite\nbs=256K\nignore_zone_limits=1\n"
    )
    profile, model = load_drive("hc620")
    geometry = profile.geometry()
    plan = parse(text, geometry)
    assert len(plan.jobs) == 4
    result = execute(plan, geometry, model, 1)
    assert result.total(1).iops == pytest.approx(160.9, rel=0.1)
    assert result.total(1).mean / 1e6 == pytest.approx(98.9, rel=0.15)


def test_plan_is_plain_data() -> None:
    assert Plan().jobs == []
