"""The short fio jobs that a drive is measured with before a model is fitted to it.

One job file for each kind of drive. Each job stands alone (stonewall) and shows a few of the
model's parameters; names that begin with ``prepare`` only bring the zones into the state that the
next jobs need, and their results are not used. What fio reports of the others is read by
calibrate.py, which runs the same jobs on the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoned.geometry import Geometry

DRIVES = {"hdd": "hc620", "zns": "zn540", "drive-managed": "st8000as0002"}
"""By kind of model: the built-in profile to begin with."""
NAMES = {"hdd": "hdd.fio", "zns": "zns.fio", "drive-managed": "managed.fio"}
PREFIXES = {"hdd-": "hdd", "zns-": "zns", "managed-": "drive-managed"}
"""How the jobs' names begin, so that results tell which kind of drive they are of."""
SPREAD = 16
"""Zones that are filled over a hard disk, so that there is something to read."""
STREAM = ("rw=read", "bs=256k", "iodepth=2", "ramp_time=200ms")
"""Options of a job that reads a stream: without its start, where it waits for the platter."""
BORDERS = 11
"""Borders of zones that a stream of reads passes, each time losing what the drive loses there."""
PASSED = 12 * 2**20
"""Bytes that are read at each."""
SHIFT = 512 * 2**10
"""Bytes of one read there, and by which the next stream begins later, seen from its border, so that
the platter does not stand in the same place each time. No read crosses a border."""
BURST = 512 * 2**10
"""Bytes that a SSD is given at once where its flash is not to be what is measured."""
RESTS = 100
"""How often it is given as much."""
LONG = 200_000
"""Commands of the job that shows the host's part: fio tells its commands a second from whole ms."""
SPREADS = ("hdd-read-borders",)
"""Jobs of which the spread of the latencies is compared, and not their mean: the platter makes the
first read at a border wait for less when the one before took longer, and their sum stays."""

README = """\
These job files measure a drive for `zonedctl bench fit`.
THEY WRITE TO THE DRIVE: WHAT IS ON IT IS LOST.

    DRIVE=/dev/sdX fio --output-format=json --output=result.json JOBS.fio
    zonedctl bench fit result.json {profile}-o my-drive.toml

JOBS.fio is the file for the kind of drive:

{files}
Several results make one fit. A hard disk takes ten minutes, an SSD less than one.
"""
FOR = {
    "hdd.fio": "a host-managed SMR hard disk",
    "zns.fio": "a ZNS SSD",
    "zns-append.fio": "its zone appends: a fio with write_mode=zone_append, DRIVE=/dev/ng0n1",
    "managed.fio": "a drive-managed SMR hard disk",
}
"""By job file, what it measures."""


def job_files(kind: str, geometry: Geometry) -> dict[str, str]:
    """By name, the job files for a drive of this kind with this geometry."""
    sections = {"hdd": _hdd, "zns": _zns, "drive-managed": _managed}[kind]
    files = {NAMES[kind]: _text(sections(geometry), "libaio", zoned=kind != "drive-managed")}
    if kind == "zns":
        files["zns-append.fio"] = _text(_appends(), "io_uring_cmd", zoned=True)
    return files


def _text(sections: Iterator[str], engine: str, *, zoned: bool) -> str:
    more = "cmd_type=nvme\n" if engine == "io_uring_cmd" else ""
    mode = "zonemode=zbd\n" if zoned else ""
    head = f"[global]\nfilename=${{DRIVE}}\nioengine={engine}\n{more}direct=1\n{mode}norandommap\n"
    return head + "group_reporting\n" + "".join(f"\n{section}" for section in sections)


def _job(name: str, *lines: str) -> str:
    return "\n".join([f"[{name}]", "stonewall", *lines, ""])


def _first(geometry: Geometry) -> int:
    """The first sequential zone."""
    ranges = geometry.conventional.ranges()
    return max((start + count for start, count in ranges), default=0)


def _hdd(geometry: Geometry) -> Iterator[str]:
    first = _first(geometry)
    last = geometry.nr_zones - 4
    step = (last - first) // (SPREAD - 1)
    everywhere = (f"offset={first}z", f"size={last - first + 1}z")
    zone = geometry.zone_size
    free = first + BORDERS + 2
    outer = (f"offset={first}z", f"size={BORDERS + 1}z")
    yield _job("hdd-write-outer", *outer, "rw=write", "bs=1m", "iodepth=8")
    yield _job("hdd-read-outer", f"offset={first}z", "size=1z", *STREAM)
    yield _job(
        "hdd-read-borders",
        *(f"offset={(first + 1) * zone - PASSED // 2}", f"size={BORDERS * zone}"),
        *("rw=read", f"bs={SHIFT}", f"number_ios={BORDERS * PASSED // SHIFT}", "zonemode=strided"),
        *(f"zonesize={PASSED}", f"zonerange={PASSED}", f"zoneskip={zone - PASSED + SHIFT}"),
    )
    # Near together, so that not the way takes time but the choice: the margin of the queue.
    yield _job(
        "hdd-read-near",
        *(f"offset={first}z", "size=8z", "rw=randread", "bs=4k", "iodepth=16"),
        *("number_ios=48000", f"io_size={2**44}"),
    )
    yield _job(
        "prepare-spread",
        *(f"offset={first}z", f"offset_increment={step}z", f"numjobs={SPREAD}", "size=1z"),
        *("rw=write", "bs=2m"),
    )
    yield _job("prepare-inner", f"offset={last}z", "size=4z", "rw=write", "bs=1m", "iodepth=8")
    yield _job("hdd-read-inner", f"offset={last}z", "size=1z", *STREAM)
    for kib in (4, 256):
        yield _job(
            f"hdd-read-unwritten-{kib}k",
            *(f"offset={free}z", "size=1z", "rw=read", f"bs={kib}k", "read_beyond_wp=1"),
            f"number_ios={20_000 if kib == 4 else 1000}",
        )
    yield _job(
        "hdd-write-burst",
        *(f"offset={free + 2}z", "size=2z", "rw=write", "bs=1m", "number_ios=120"),
        *("thinktime=1s", "thinktime_blocks=8"),
    )
    random = ("rw=randread", "bs=4k")
    yield _job("hdd-read-all", *everywhere, *random, "number_ios=6000", f"io_size={2**44}")
    apart = SPREAD // 3 * step
    yield _job("hdd-read-third", *_turns(f"{first + apart}z", f"{apart}z", "1z", 4000), *random)
    yield _job("hdd-read-ends", *_turns(f"{first}z", f"{last - first}z", "4z", 1500), *random)
    yield _job(
        "hdd-read-deep", *everywhere, *random, "number_ios=6000", "iodepth=16", f"io_size={2**44}"
    )
    if geometry.nr_conventional:
        # zonesize, as fio 3.33 does not look for it in zones that are conventional, and stops.
        where = ("offset=0", f"size={geometry.nr_conventional}z", f"zonesize={zone}")
        writes = (*where, "rw=randwrite", "bs=4k", "iodepth=4")
        # More than the cache holds commands, and time for it to empty itself.
        rest = ("number_ios=3000", "thinktime=5s", "thinktime_blocks=300")
        yield _job("hdd-write-random", *writes, *rest)
    yield _job("hdd-reset", f"offset={first}z", "size=4z", "rw=trim", f"bs={zone}")


def _zns(geometry: Geometry) -> Iterator[str]:
    first = _first(geometry)
    zone, capacity = geometry.zone_size, geometry.zone_capacity
    at = first
    for kib in (4, 8, 16, 32, 64, 128):
        yield _job(
            *(f"zns-write-{kib}k", f"offset={at}z", "size=1z", "rw=write", f"bs={kib}k"),
            *_at_rest(kib, min(LONG if kib == 4 else 20_000, capacity // (kib * 1024) - 1)),
        )
        yield _job(f"prepare-reset-{kib}k", f"offset={at}z", "size=1z", "rw=trim", f"bs={zone}")
        at += 1
    yield _job(
        "zns-write-zones",
        *(f"offset={at}z", "offset_increment=1z", "numjobs=6", "size=1z", "rw=write", "bs=4k"),
        "number_ios=20000",
    )
    yield _job("prepare-reset-zones", f"offset={at}z", "size=6z", "rw=trim", f"bs={zone}")
    yield _job(
        "zns-write-flash",
        *(f"offset={at}z", "offset_increment=1z", "numjobs=4", "size=1z", "rw=write", "bs=128k"),
        "number_ios=2000",
    )
    yield _job("prepare-reset-flash", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    # Between what is written and its reset are reads: an erase waits for programs under way.
    full, at = at, at + 6
    reads = (f"offset={full}z", "size=4z", "rw=randread")
    yield _job("prepare-full", f"offset={full}z", "size=4z", "rw=write", "bs=1m", "iodepth=4")
    yield _partly(at, "quarter", capacity // 4)
    for kib in (4, 16, 32):
        yield _job(f"zns-read-{kib}k", *reads, f"bs={kib}k", "number_ios=8000")
    yield _job("zns-reset-quarter", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    at += 6
    yield _partly(at, "half", capacity // 2)
    yield _job("zns-read-flash", *reads, "bs=128k", "iodepth=32", "number_ios=20000")
    yield _job("zns-reset-half", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    at += 6
    yield _job(
        "prepare-one",
        *(f"offset={at}z", "offset_increment=1z", "numjobs=4", "size=1z", "rw=write"),
        *(f"bs={max(geometry.logical_block, 4096)}", "number_ios=1"),
    )
    # As many as dies, which are in each other's way then; and as many as the drive takes.
    for depth in (32, 256):
        deep = ("bs=4k", f"iodepth={depth}", "number_ios=100000")
        yield _job(f"zns-read-4k-{depth}", *reads, *deep)
    yield _job("zns-reset-one", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    yield _job("zns-reset-full", f"offset={full}z", "size=4z", "rw=trim", f"bs={zone}")


def _at_rest(kib: int, number: int) -> Iterator[str]:
    """Options of a job of so many writes of this size, which keeps the flash from setting the pace.

    More than 8 KiB at a time go into the drive's buffer, and then there is a rest, in which it is
    emptied: otherwise a drive whose flash is slow shows that in each of these jobs, and not what
    the command takes. (With thinktime_spin, fio 3.33 never wakes up.)
    """
    if kib <= 8:
        yield f"number_ios={number}"
        return
    burst = max(1, BURST // (kib * 1024))
    yield from (f"number_ios={burst * RESTS}", f"thinktime_blocks={burst}")
    yield "thinktime=5ms"


def _partly(at: int, name: str, written: int) -> str:
    """A job that writes so much of each of four zones."""
    return _job(
        f"prepare-{name}",
        *(f"offset={at}z", "offset_increment=1z", "numjobs=4", "size=1z", "rw=write"),
        *("bs=1m", f"io_size={written // 2**20 * 2**20}"),
    )


def _appends() -> Iterator[str]:
    at = 0
    for kib in (4, 8, 16, 32, 64):
        yield _job(
            f"zns-append-{kib}k",
            *(f"offset={at}z", "size=1z", "rw=write", f"bs={kib}k"),
            *(*_at_rest(kib, 10_000), "write_mode=zone_append"),
        )
        at += 1
    yield _job(
        "zns-append-deep",
        *(f"offset={at}z", "size=1z", "rw=write", "bs=4k", "number_ios=40000", "iodepth=16"),
        "write_mode=zone_append",
    )


def _turns(offset: str, apart: str, size: str, number: int) -> Iterator[str]:
    """Options of a job that reads at two places in turns: while one read is served the next one
    waits at the other place. Places drawn for each read leave to chance how long the ways are.
    """
    yield from (f"offset={offset}", f"offset_increment={apart}", "numjobs=2", f"size={size}")
    yield from (f"number_ios={number}", f"io_size={2**44}")


def _managed(geometry: Geometry) -> Iterator[str]:
    size = geometry.size // 2**20 * 2**20
    run = 512 * 2**20
    for name, at in (("outer", size // 50), ("inner", size - 2 * run)):
        where = (f"offset={at // 2**20 * 2**20}", f"size={run}")
        yield _job(f"managed-read-{name}", *where, *STREAM)
    random = ("rw=randread", "bs=4k")
    everywhere = (f"size={size}", "number_ios=3000", f"io_size={2**44}")
    yield _job("managed-read-all", *everywhere, *random)
    end, third = size // 32 // 2**20 * 2**20, size // 3 // 2**20 * 2**20
    yield _job("managed-read-third", *_turns(str(third), str(third), str(end), 2000), *random)
    yield _job("managed-read-ends", *_turns("0", str(size - end), str(end), 2000), *random)
    yield _job(
        "managed-write-random",
        *(f"size={size}", "rw=randwrite", "bs=4k", "number_ios=20000", f"io_size={2**44}"),
    )
