"""fio with verification: three engines, direct and buffered, four jobs at once."""

from __future__ import annotations

import os
import shutil

import pytest

import zonefs
from fuse.tools import fio

ENGINES = ("psync", "libaio", "io_uring")


@pytest.fixture(autouse=True)
def fio_is_there(needs):
    needs("fio", shutil.which("fio") is not None, "writes with verification (apt install fio)")


def jobs(folder: str, count: int = 4) -> list[str]:
    return [word for i in range(count) for word in (f"--name=j{i}", f"--filename={folder}/{i}")]


@pytest.mark.parametrize("block", ["4k", "64k", "1m"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", ["strict direct", "default direct", "default buffered"])
def test_sequential_files(disk, place, mode, engine, block):
    strict, direct = mode.split()
    depth = 1 if engine == "psync" else 8
    with zonefs.mount(disk, place, strict=strict == "strict") as mount:
        done = fio(
            f"--ioengine={engine}",
            f"--direct={int(direct == 'direct')}",
            f"--bs={block}",
            f"--iodepth={depth}",
            "--rw=write",
            "--size=4m",
            "--file_append=1",
            "--verify=crc32c",
            "--verify_fatal=1",
            *jobs(f"{mount.path}/seq"),
        )
        assert [job["write"]["io_bytes"] for job in done] == 4 * [4 << 20]
        assert [job["read"]["io_bytes"] for job in done] == 4 * [4 << 20]
        assert [os.stat(f"{mount.path}/seq/{i}").st_size for i in range(4)] == 4 * [4 << 20]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("direct", [1, 0])
def test_conventional_files(shm, place, engine, direct):
    from fuse.conftest import make_disk

    image = make_disk(shm, conventional=6)
    with zonefs.mount(image, place, strict=True) as mount:
        done = fio(
            f"--ioengine={engine}",
            f"--direct={direct}",
            "--bs=4k-64k",
            "--iodepth=4",
            "--rw=randwrite",
            "--size=4m",
            "--verify=crc32c",
            "--verify_fatal=1",
            *jobs(f"{mount.path}/cnv"),
        )
        for job in done:
            assert job["read"]["io_bytes"] == job["write"]["io_bytes"] > 3 << 20


def test_random_reads_of_what_was_written(mounted):
    common = ["--ioengine=psync", "--direct=1", "--size=4m", "--verify=crc32c", "--verify_fatal=1"]
    folder = f"{mounted.path}/seq"
    fio(*common, "--rw=write", "--bs=4k", "--file_append=1", "--do_verify=0", *jobs(folder))
    done = fio(*common, "--rw=randread", "--bs=4k", *jobs(folder))
    assert [job["read"]["io_bytes"] for job in done] == 4 * [4 << 20]


def test_fsync_from_many_jobs_at_once(mounted):
    done = fio(
        "--ioengine=psync",
        "--direct=1",
        "--rw=write",
        "--bs=4k",
        "--size=512k",
        "--file_append=1",
        "--fsync=4",
        *jobs(f"{mounted.path}/seq", 8),
    )
    assert [job["sync"]["total_ios"] for job in done] == 8 * [31]
