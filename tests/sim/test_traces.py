"""Traces: each format's own lines, malformed ones counted, compressed and cut-off files, and replay."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cli.shell import ok
from sim.helpers import MIB, disk
from zoned.bench import Job, Simulation
from zoned.drives.models import null_model
from zoned.traces.foreign import FORMATS, BlockTrace
from zoned.traces.packed import TraceError

SAMPLES = {
    "msr": (
        "128166372003061629,hm,1,Read,383496192,32768,413\n"
        "128166372016382155,hm,1,Write,310983680,4096,1082\n"
        "128166372026382155,hm,0,Write,310987776,512,900\n"
    ),
    "alibaba": "0,R,126703661056,4096,1577808000000046\n0,W,8589934592,16384,1577808000000151\n3,W,0,8192,1577808001000046\n",
    "tencent": "1538323200,12910952,128,0,1063\n1538323201,12910952,8,1,1063\n1538323201,0,256,1,1064\n",
    "iolog2": (
        "fio version 2 iolog\n/dev/sdb add\n/dev/sdb open\n/dev/sdb write 0 65536\n/dev/sdb wait 1500 0\n"
        "/dev/sdb read 65536 4096\n/dev/sdb sync 0 0\n/dev/sdb trim 0 4096\n/dev/sdb close\n"
    ),
    "iolog3": "fio version 3 iolog\n0 /dev/sdb add\n0 /dev/sdb open\n1 /dev/sdb write 0 65536\n3 /dev/sdb read 65536 4096\n9 /dev/sdb close\n",
    "blkparse": (
        "  8,0    3        1     0.000000000   697  Q   W 223490 + 8 [kjournald]\n"
        "  8,0    3        2     0.000001829   697  G   W 223490 + 8 [kjournald]\n"
        "  8,0    3        5     0.000010000   697  D   W 223490 + 8 [kjournald]\n"
        "  8,0    3        7     0.000500000   697  D   R 8192 + 16 [cat]\n"
        "  8,0    1        9     0.000600000     0  C   R 8192 + 16 [0]\n"
        "  8,0    1       11     0.000700000   697  D FWS [flush]\n"
        "CPU0 (sda):\n Reads Queued:           1,        8KiB\n"
    ),
}
EXPECTED: dict[str, list[tuple[int, int, int, int]]] = {
    # time in ns, offset, length, direction
    "msr": [
        (0, 383496192, 32768, 0),
        (1332052600, 310983680, 4096, 1),
        (2332052600, 310987776, 512, 1),
    ],
    "alibaba": [(0, 126703661056, 4096, 0), (105_000, 8589934592, 16384, 1), (10**9, 0, 8192, 1)],
    "tencent": [
        (0, 12910952 * 512, 65536, 0),
        (10**9, 12910952 * 512, 4096, 1),
        (10**9, 0, 131072, 1),
    ],
    "iolog2": [
        (0, 0, 65536, 1),
        (1_500_000, 65536, 4096, 0),
        (1_500_000, 0, 0, 3),
        (1_500_000, 0, 4096, 2),
    ],
    "iolog3": [(1_000_000, 0, 65536, 1), (3_000_000, 65536, 4096, 0)],
    "blkparse": [(0, 223490 * 512, 4096, 1), (490_000, 8192 * 512, 8192, 0)],
}


def records(trace: BlockTrace) -> list[tuple[int, int, int, int]]:
    out = []
    for array, count in trace.records():
        out += [(r.time, r.offset, r.length, r.dir) for r in array[0:count]]
    return out


def save(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_each_format(form: str, tmp_path: Path) -> None:
    trace = BlockTrace(save(tmp_path / "t.txt", SAMPLES[form]))
    assert trace.format == form, "told from its first lines"
    assert records(trace) == EXPECTED[form]
    assert trace.bad == 0
    assert trace.records_read == len(EXPECTED[form])


def test_blkparse_queue_events(tmp_path: Path) -> None:
    trace = BlockTrace(save(tmp_path / "t", SAMPLES["blkparse"]), action="Q")
    assert [r[1] for r in records(trace)] == [223490 * 512]


def test_blkparse_lines_without_block_io_are_ignored(tmp_path: Path) -> None:
    """Commands passed through, messages, unplugs, and what blkparse says of its files and of the sums."""
    lines = (
        "Input file sda.blktrace.0 added\n"
        "  8,0    3        1     0.000000000   697  m   N cfq697 slice expired t=0\n"
        "  8,0    3        2     0.000001000   697  D   R 36 (12 00 00 00 24 00) [smartd]\n"
        "  8,0    3        3     0.000002000   697  D   N 0 [swapper]\n"
        "  8,0    3        4     0.000003000   697  P\n"
        "  8,0    3        5     0.000004000   697  U   N [kblockd] 4\n"
        "  8,0    3        6     0.000005000   697 UT   N [swapper] 1\n"
        "  8,0    3        7     0.000006000   697  D  FN [flush]\n"
        "  8,0    3        8     0.000007000   697  D   W 4096 + 8 [dd]\n"
        "CPU0 (sda):\n Reads Queued:           1,        8KiB\n"
    )
    trace = BlockTrace(save(tmp_path / "t", lines))
    assert trace.format == "blkparse"
    assert records(trace) == [(0, 4096 * 512, 4096, 1)]
    assert (trace.bad, trace.ignored) == (0, 10)


def test_iolog3_in_nanoseconds(tmp_path: Path) -> None:
    trace = BlockTrace(save(tmp_path / "t", SAMPLES["iolog3"]), iolog_ns=True)
    assert [r[0] for r in records(trace)] == [1, 3]


def test_malformed_lines_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    good = SAMPLES["alibaba"]
    trace = BlockTrace(
        save(
            tmp_path / "t",
            good + "0,X,1,2,3\n" + "0,R,-5,4096,1\nrubbish\n" + "0,W,0,4096,1577808002000000\n",
        )
    )
    assert len(records(trace)) == 4
    assert trace.bad == 3
    assert trace.first_bad == "line 4: '0,X,1,2,3'"


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_lines_never_crash(form: str, tmp_path: Path) -> None:
    """Every cut and every changed byte of each sample: counted, never fatal."""
    text = SAMPLES[form]
    for at in range(len(text)):
        for damaged in (
            text[:at],
            text[:at] + "\x00" + text[at + 1 :],
            text[:at] + "9" * 30 + text[at:],
        ):
            if not damaged:
                continue
            trace = BlockTrace(save(tmp_path / "t", damaged), form)
            try:
                found = records(trace)
            except TraceError:
                continue
            assert len(found) <= len(EXPECTED[form]) + 1


def test_last_line_without_newline_and_dos_ends(tmp_path: Path) -> None:
    text = SAMPLES["msr"].replace("\n", "\r\n").rstrip("\r\n")
    assert records(BlockTrace(save(tmp_path / "t", text))) == EXPECTED["msr"]


def test_going_back_in_time_stands_still(tmp_path: Path) -> None:
    text = "0,W,0,4096,1000000\n0,W,4096,4096,999000\n"
    assert [r[0] for r in records(BlockTrace(save(tmp_path / "t", text), "alibaba"))] == [0, 0]


# ------------------------------------------------------------------------------------------- files


def long_text(lines: int = 200_000) -> str:
    return "".join(
        f"0,W,{index * 4096 % 2**40},4096,{1577808000000000 + index * 10}\n"
        for index in range(lines)
    )


def test_gz(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(long_text().encode()))
    trace = BlockTrace(path)
    assert len(records(trace)) == 200_000
    assert len(records(trace)) == 200_000, "a trace can be read again"


def test_gz_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(long_text().encode())[:-5000])
    with pytest.raises(TraceError, match="cut off"):
        records(BlockTrace(path))


def test_gz_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="not compressed as its name says"):
        BlockTrace(save(tmp_path / "t.csv.gz", SAMPLES["msr"]))


def test_zst(tmp_path: Path, needs: Callable[[str, bool, str], None]) -> None:
    needs("zstandard", find_spec("zstandard") is not None, "reading .zst")
    import zstandard

    data = zstandard.ZstdCompressor().compress(long_text().encode())
    (tmp_path / "t.zst").write_bytes(data)
    assert len(records(BlockTrace(tmp_path / "t.zst"))) == 200_000
    (tmp_path / "two.zst").write_bytes(data + data)
    assert len(records(BlockTrace(tmp_path / "two.zst"))) == 400_000, "frame after frame"
    (tmp_path / "cut.zst").write_bytes(data[:-5000])
    with pytest.raises(TraceError, match=r"cut\.zst: the compressed file is cut off"):
        records(BlockTrace(tmp_path / "cut.zst"))
    (tmp_path / "bad.zst").write_bytes(b"no such thing")
    with pytest.raises(TraceError, match=r"bad\.zst: damaged \("):
        records(BlockTrace(tmp_path / "bad.zst"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("hello\nworld\n", "not a trace of a known format"),
        ("fio version 1 iolog\n", "version 1 is not supported"),
    ],
)
def test_wrong_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=message):
        BlockTrace(save(tmp_path / "t", text))


def test_the_wrong_format_has_no_command(tmp_path: Path) -> None:
    with pytest.raises(
        TraceError, match="no command in 3 lines read as msr; first malformed line 1"
    ):
        records(BlockTrace(save(tmp_path / "t", SAMPLES["tencent"]), "msr"))
    with pytest.raises(TraceError, match="there is no trace format 'vscsi'"):
        BlockTrace(save(tmp_path / "t", SAMPLES["tencent"]), "vscsi")


# ------------------------------------------------------------------------------------------ replay


def replay(text: str, path: Path, job: Job, **keywords: Any) -> Any:
    sim = Simulation(disk(**keywords), null_model(), 1)
    trace = BlockTrace(save(path, text))
    sim.feed(sim.add(job), trace.records())
    return sim.run()


def test_straight_keeps_the_traces_times(tmp_path: Path) -> None:
    job = Job("t", kind="trace", iodepth=4, size=64 * MIB)
    result = replay(SAMPLES["alibaba"], tmp_path / "t", job, conventional=16)
    assert result.total(0).count == 1
    assert result.total(1).count == 2
    assert result.now == 10**9 + 1000


def test_straight_on_zones_breaks_their_rules(tmp_path: Path) -> None:
    job = Job("t", kind="trace", iodepth=4, offset=8 * MIB, size=56 * MIB)
    result = replay("0,W,65536,4096,1\n0,W,0,4096,2\n", tmp_path / "t", job)
    assert result.jobs[0].rule == "unaligned-write"


def test_through_the_log_layer_everything_fits(tmp_path: Path) -> None:
    text = "".join(f"0,W,{(index * 7919) % 5000 * 4096},4096,{index}\n" for index in range(30_000))
    job = Job(
        "t", kind="trace", iodepth=4, offset=8 * MIB, size=56 * MIB, log_block=4096, log_spare=0.3
    )
    result = replay(text, tmp_path / "t", job)
    assert not result.jobs[0].error
    assert result.jobs[0].log_user == 30_000
    assert result.total(1).count == 30_000
    assert result.jobs[0].write_amplification >= 1


def test_a_long_trace_is_streamed(tmp_path: Path) -> None:
    """More commands than one batch: the run asks for the next one again and again."""
    job = Job("t", kind="trace", iodepth=32, size=64 * MIB)
    result = replay(long_text(150_000), tmp_path / "t", job, conventional=16)
    assert result.total(1).count == 150_000


PEAK = """
import resource, sys
from zoned.bench import Job, Simulation
from zoned.drives.models import null_model
from zoned.traces.foreign import BlockTrace
from sim.helpers import disk
sim = Simulation(disk(conventional=16), null_model())
sim.feed(sim.add(Job("t", kind="trace", iodepth=32, size=64 << 20)), BlockTrace(sys.argv[1]).records())
print(sim.run().total(1).count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_the_length_of_a_trace_does_not_show_in_memory(tmp_path: Path) -> None:
    """Six times the lines, 19 MiB of text: the peak is the same within a few MiB."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    peaks = []
    for lines in (100_000, 600_000):
        path = tmp_path / f"{lines}.gz"
        with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
            for start in range(0, lines, 50_000):
                file.write(
                    "".join(
                        f"0,W,{i % 997 * 4096:014},4096,{i:08}\n"
                        for i in range(start, start + 50_000)
                    )
                )
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(path)], env=environment, check=True,
            stdout=subprocess.PIPE, text=True,
        ).stdout.split()  # fmt: skip
        assert int(done[0]) == lines
        peaks.append(int(done[1]))
    assert peaks[1] < peaks[0] + 8 * 1024, peaks


def test_sync_is_a_barrier(tmp_path: Path) -> None:
    text = "fio version 2 iolog\n/d open\n/d write 0 4096\n/d write 4096 4096\n/d sync 0 0\n/d write 8192 4096\n"
    job = Job("t", kind="trace", iodepth=8, size=64 * MIB)
    result = replay(text, tmp_path / "t", job, conventional=16)
    assert result.now == 2000, "two side by side, then the third alone"


def iolog(*lines: str) -> str:
    return "fio version 2 iolog\n/d open\n" + "".join(f"/d {line}\n" for line in lines)


WRITES = [f"write {8 * MIB + i * MIB} {MIB}" for i in range(4)]


@pytest.mark.parametrize("trim", [f"trim {8 * MIB} {4 * MIB}", f"trim {6 * MIB} {6 * MIB}"])
def test_a_straight_trim_of_a_whole_zone_resets_it(trim: str, tmp_path: Path) -> None:
    """Four writes, a trim and the same four writes; a trim beyond the zone leaves the others alone."""
    job = Job("t", kind="trace", iodepth=8, size=64 * MIB)
    result = replay(iolog(*WRITES, trim, *WRITES), tmp_path / "t", job)
    assert result.jobs[0].error == ""
    assert (result.total(1).count, result.total(2).count) == (8, 1)
    assert result.counts["resets"] == 1


def test_a_straight_trim_covers_several_zones_and_no_part_of_one(tmp_path: Path) -> None:
    job = Job("t", kind="trace", size=64 * MIB)
    more = [f"write {12 * MIB} 4096", f"write {16 * MIB} 4096"]
    trims = [f"trim {8 * MIB + 4096} {12 * MIB}", f"trim {20 * MIB} 4096", f"trim {80 * MIB} 4096"]
    result = replay(iolog(*WRITES, *more, *trims), tmp_path / "t", job)
    assert result.total(2).count == 2, "zones 3 and 4: of zone 2 and of zone 5 it is a part"
    assert result.counts["resets"] == 2
    assert result.jobs[0].partial == 2, "and that is counted, but for what is of no zone at all"


def test_trims_that_reset_less_than_they_cover_are_said(tmp_path: Path) -> None:
    """hc620 begins with conventional zones."""
    zone, first = 256 * MIB, 524 * 256 * MIB
    trims = [f"trim 0 {zone}", f"trim {first - zone} {2 * zone}", f"trim {first + 4096} 4096"]
    path = save(tmp_path / "t", iolog(f"trim {first} {zone}", *trims))
    text = ok("bench", "--trace", path, "--straight", "--quiet").text
    assert "passed over, in whole or in part: 3 trims of a part of a zone, or of conv" in text
    whole = save(tmp_path / "w", iolog(f"trim {first} {2 * zone}"))
    assert "passed over" not in ok("bench", "--trace", whole, "--straight", "--quiet").text


def test_a_straight_trim_of_the_last_zone_which_is_smaller(tmp_path: Path) -> None:
    size = 62 * MIB
    job = Job("t", kind="trace", size=size)
    text = iolog(f"write {60 * MIB} {MIB}", f"trim {60 * MIB} {2 * MIB}", f"write {60 * MIB} {MIB}")
    result = replay(text, tmp_path / "t", job, size=size)
    assert (result.jobs[0].error, result.total(2).count) == ("", 1)


@pytest.mark.parametrize(
    ("offset", "length", "blocks"),
    [(2048, 4096, 2), (0, 4096, 1), (0, 512, 1), (4095, 2, 2), (4096, 4097, 2), (512, 3584, 1)],
)
def test_straight_a_command_is_of_all_blocks_that_it_touches(
    offset: int, length: int, blocks: int, tmp_path: Path
) -> None:
    job = Job("t", kind="trace", size=64 * MIB)
    result = replay(iolog(f"read {offset} {length}"), tmp_path / "t", job, conventional=16)
    assert (result.total(0).count, result.total(0).bytes) == (1, blocks * 4096)


def test_straight_commands_beyond_the_disk_are_counted(tmp_path: Path) -> None:
    """Taken round to the start, as before, and counted once each, in however many pieces they come."""
    job = Job("t", kind="trace", size=64 * MIB)
    beyond = (f"read {64 * MIB} 4096", f"read {60 * MIB} {6 * MIB}", f"trim {62 * MIB} {4 * MIB}")
    result = replay(
        iolog(*beyond, f"read {60 * MIB} {4 * MIB}", "read 0 4096"), tmp_path / "t", job
    )
    assert result.jobs[0].folded == 3
    assert result.jobs[0].error == ""


def test_what_lies_beyond_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "t", iolog("read 0 4096", f"read {2**50} 4096", f"trim {2**50} 4096"))
    text = ok("bench", "--trace", path, "--straight", "--quiet").text
    assert "beyond the disk: 2 commands, in whole or in part; reads and writes went on" in text
    text = ok("bench", "--trace", path, "--set", "zones=32", "--quiet").text
    assert "beyond the volume on the log layer: 1 command, " in text
    inside = save(tmp_path / "i", iolog("read 0 4096"))
    assert "beyond" not in ok("bench", "--trace", inside, "--straight", "--quiet").text
