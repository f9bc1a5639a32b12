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
    yield _job("hdd-write-outer", f"offset={first}z", "size=4z", "rw=write", "bs=1m", "iodepth=8")
    yield _job("hdd-read-outer", f"offset={first}z", "size=1z", "rw=read", "bs=256k", "iodepth=8")
    # Near together, so that not the way takes time but the choice: the margin of the queue.
    yield _job(
        "hdd-read-near",
        *(f"offset={first}z", "size=1z", "rw=randread", "bs=4k", "iodepth=16"),
        *("number_ios=12000", f"io_size={2**44}"),
    )
    yield _job(
        "prepare-spread",
        *(f"offset={first}z", f"offset_increment={step}z", f"numjobs={SPREAD}", "size=1z"),
        *("rw=write", "bs=2m"),
    )
    yield _job("prepare-inner", f"offset={last}z", "size=1z", "rw=write", "bs=1m", "iodepth=8")
    yield _job("hdd-read-inner", f"offset={last}z", "size=1z", "rw=read", "bs=256k", "iodepth=8")
    for kib in (4, 256):
        yield _job(
            f"hdd-read-unwritten-{kib}k",
            *(f"offset={first + 5}z", "size=1z", "rw=read", f"bs={kib}k", "read_beyond_wp=1"),
            "number_ios=1000",
        )
    yield _job(
        "hdd-write-burst",
        *(f"offset={first + 8}z", "size=2z", "rw=write", "bs=1m", "number_ios=120"),
        *("thinktime=1s", "thinktime_blocks=8"),
    )
    random = ("rw=randread", "bs=4k")
    yield _job("hdd-read-all", *everywhere, *random, "number_ios=12000", f"io_size={2**44}")
    yield _job(
        "hdd-read-ends",
        *(*everywhere, *random, "number_ios=12000", f"io_size={2**44}"),
        "random_distribution=zoned:50/3:0/94:50/3",
    )
    yield _job(
        "hdd-read-deep", *everywhere, *random, "number_ios=6000", "iodepth=16", f"io_size={2**44}"
    )
    if geometry.nr_conventional:
        yield _job(
            "hdd-write-random",
            *("offset=0", f"size={geometry.nr_conventional}z", "rw=randwrite", "bs=4k"),
            *("number_ios=4000", "thinktime=8s", "thinktime_blocks=400", "iodepth=4"),
        )
    yield _job("hdd-reset", f"offset={first}z", "size=4z", "rw=trim", f"bs={zone}")


def _zns(geometry: Geometry) -> Iterator[str]:
    first = _first(geometry)
    zone, capacity = geometry.zone_size, geometry.zone_capacity
    at = first
    for kib in (4, 8, 16, 20, 32, 64, 128):
        ios = min(20_000, capacity // (kib * 1024) - 1)
        yield _job(
            f"zns-write-{kib}k", f"offset={at}z", "size=1z", "rw=write", f"bs={kib}k",
            f"number_ios={ios}",
        )  # fmt: skip
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
    yield _job("prepare-full", f"offset={at}z", "size=4z", "rw=write", "bs=1m", "iodepth=4")
    reads = (f"offset={at}z", "size=4z", "rw=randread")
    for kib, depth, ios in ((4, 1, 8000), (16, 1, 8000), (32, 1, 8000), (4, 256, 100_000)):
        name = f"zns-read-{kib}k" + (f"-{depth}" if depth > 1 else "")
        yield _job(name, *reads, f"bs={kib}k", f"iodepth={depth}", f"number_ios={ios}")
    yield _job("zns-read-flash", *reads, "bs=128k", "iodepth=32", "number_ios=20000")
    block = geometry.logical_block
    for name, part in (("quarter", 4), ("half", 2)):
        at += 6
        some = capacity // part // 2**20 * 2**20
        yield _job(
            f"prepare-{name}",
            *(f"offset={at}z", "offset_increment=1z", "numjobs=4", "size=1z", "rw=write"),
            *("bs=1m", f"io_size={some}"),
        )
        yield _job(f"zns-reset-{name}", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    at += 6
    yield _job(
        "prepare-one",
        *(f"offset={at}z", "offset_increment=1z", "numjobs=4", "size=1z", "rw=write"),
        *(f"bs={max(block, 4096)}", "number_ios=1"),
    )
    yield _job("zns-reset-one", f"offset={at}z", "size=4z", "rw=trim", f"bs={zone}")
    yield _job("zns-reset-full", f"offset={first + 7}z", "size=4z", "rw=trim", f"bs={zone}")


def _appends() -> Iterator[str]:
    at = 0
    for kib in (4, 8, 16, 32, 64):
        yield _job(
            f"zns-append-{kib}k",
            *(f"offset={at}z", "size=1z", "rw=write", f"bs={kib}k", "number_ios=10000"),
            "write_mode=zone_append",
        )
        at += 1
    yield _job(
        "zns-append-deep",
        *(f"offset={at}z", "size=1z", "rw=write", "bs=4k", "number_ios=40000", "iodepth=16"),
        "write_mode=zone_append",
    )


def _managed(geometry: Geometry) -> Iterator[str]:
    size = geometry.size // 2**20 * 2**20
    run = 512 * 2**20
    for name, at in (("outer", size // 50), ("inner", size - 2 * run)):
        where = (f"offset={at // 2**20 * 2**20}", f"size={run}")
        yield _job(f"managed-read-{name}", *where, "rw=read", "bs=1m", "iodepth=8")
    random = (f"size={size}", "rw=randread", "bs=4k", "number_ios=6000", f"io_size={2**44}")
    yield _job("managed-read-all", *random)
    yield _job("managed-read-ends", *random, "random_distribution=zoned:50/3:0/94:50/3")
    yield _job(
        "managed-write-random",
        *(f"size={size}", "rw=randwrite", "bs=4k", "number_ios=4000", f"io_size={2**44}"),
    )
