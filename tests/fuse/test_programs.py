"""Programs that know nothing of zones, unmodified, on the default and on the strict mount."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

import zonefs
from fuse.tools import error_of, run, zonedctl
from waiting import PATIENCE

BLOCK = 4096
TEXT = b"".join(b"line %d of a file of no particular length\n" % i for i in range(40_000))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(TEXT)
    assert len(TEXT) % BLOCK
    return path


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    """3 MiB: for the last block, if it were not whole, dd would turn O_DIRECT off."""
    path = tmp_path / "blocks"
    path.write_bytes((TEXT * 2)[: 3 << 20])
    return path


@pytest.fixture
def default(disk: str, place: Path):
    with zonefs.mount(disk, place) as mount:
        yield Path(mount.path)


@pytest.fixture
def strict(disk: str, place: Path):
    with zonefs.mount(disk, place, strict=True) as mount:
        yield Path(mount.path)


def test_ls_stat_find(mounted):
    at = mounted.path
    assert run("ls", "-f", f"{at}").stdout.split() == [".", "..", "cnv", "seq"]
    assert run("ls", "-f", f"{at}/seq").stdout.split() == [".", "..", *map(str, range(10))]
    assert run("stat", "-c", "%s %b %A %i", f"{at}/seq/9").stdout.split() == [
        "0",
        str((8 << 20) // 512),
        "-rw-r-----",
        "11",
    ]
    assert run("stat", "-c", "%s %a", f"{at}/cnv/0").stdout.split() == [str(8 << 20), "640"]
    assert run("stat", "-c", "%s %a %h %i", f"{at}/seq").stdout.split() == ["10", "555", "2", "14"]
    found = run("find", at, "-type", "f").stdout.split()
    assert sorted(found) == sorted([f"{at}/cnv/0", *(f"{at}/seq/{i}" for i in range(10))])
    numbers = run("stat", "-f", "-c", "%s %b %f %c %d %l", at).stdout.split()
    assert numbers == ["4096", str(11 * 2048), str(10 * 2048), "13", "0", "16"]


def test_a_listing_of_many_zones_is_complete_and_in_order(shm, place):
    from fuse.conftest import make_disk

    image = make_disk(
        shm, "many.img", size=3000 << 16, zone_size=1 << 16, conventional=900, data="none"
    )
    # No payload is kept on such a disk, so no superblock: one that keeps it is needed.
    Path(image).unlink()
    image = make_disk(shm, "many.img", size=3000 << 16, zone_size=1 << 16, conventional=900)
    with zonefs.mount(image, place) as mount:
        assert [entry.name for entry in os.scandir(f"{mount.path}/cnv")] == list(
            map(str, range(899))
        )
        long = run("ls", "-lU", f"{mount.path}/seq").stdout.splitlines()[1:]
        assert [line.split()[-1] for line in long] == list(map(str, range(2100)))


def test_cp_and_cmp(default: Path, source: Path):
    run("cp", source, default / "seq/0")
    assert (default / "seq/0").stat().st_size == len(padded(TEXT))
    run("cmp", "-n", str(len(TEXT)), source, default / "seq/0")
    assert (default / "seq/0").read_bytes() == padded(TEXT)


def test_cp_again_replaces(default: Path, source: Path):
    (default / "seq/0").write_bytes(b"x" * 3_000_000)
    run("cp", source, default / "seq/0")
    assert (default / "seq/0").read_bytes() == padded(TEXT)


def test_cp_out_of_a_strict_mount(strict: Path, blocks: Path, tmp_path: Path):
    run("dd", f"if={blocks}", f"of={strict}/seq/0", "bs=64k", "oflag=direct", "conv=notrunc")
    run("cp", strict / "seq/0", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == blocks.read_bytes()


def test_strict_refuses_what_the_kernel_refuses(strict: Path, source: Path):
    done = run("cp", source, strict / "seq/0", check=False)
    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    done = run("dd", f"if={source}", f"of={strict}/seq/1", "conv=notrunc", check=False)
    assert done.returncode == 1
    assert "Input/output error" in done.stderr
    assert (strict / "seq/1").stat().st_size == 0


@pytest.mark.parametrize("size", ["4k", "128k", "1M", "3M"])
def test_dd_direct(mounted, blocks: Path, size: str):
    target = Path(mounted.path) / "seq/3"
    run("dd", f"if={blocks}", f"of={target}", f"bs={size}", "oflag=direct", "iflag=fullblock")
    assert target.read_bytes() == blocks.read_bytes()
    out = run("sh", "-c", f"dd if={target} bs={size} iflag=direct status=none | md5sum").stdout
    assert out.split()[0] == hashlib.md5(blocks.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", ["1", "100", "1000", "4096", "100000"])
def test_dd_buffered_in_blocks_of_any_size(default: Path, tmp_path: Path, size: str):
    data = TEXT[: int(size) * 37][:1_000_000]
    (tmp_path / "in").write_bytes(data)
    run("dd", f"if={tmp_path}/in", f"of={default}/seq/4", f"bs={size}")
    assert (default / "seq/4").read_bytes() == padded(data)


def test_shell_append(default: Path):
    target = default / "seq/5"
    run("sh", "-c", f"echo one >> {target}")
    assert target.stat().st_size == BLOCK
    run("sh", "-c", f"echo two >> {target}")
    assert target.read_bytes() == padded(b"one\n") + padded(b"two\n")
    # One description, several commands: no padding in between.
    run("bash", "-c", f"{{ echo a; stat -c %s {target} >&2; echo b; }} >> {target}")
    assert target.read_bytes() == padded(b"one\n") + padded(b"two\n") + padded(b"a\nb\n")


def test_size_is_true_until_fsync_or_close(default: Path):
    target = default / "seq/6"
    with target.open("ab", buffering=0) as file:
        file.write(b"abc")
        assert target.stat().st_size == 3
        assert target.read_bytes() == b"abc"
        file.write(b"def")
        assert target.stat().st_size == 6
        os.fsync(file.fileno())
        assert target.stat().st_size == BLOCK
        file.write(b"x")
        assert target.stat().st_size == BLOCK + 1
    assert target.stat().st_size == 2 * BLOCK


def test_size_is_padded_as_soon_as_close_returns(default: Path):
    target = default / "seq/6"
    for i in range(1, 200):
        with target.open("ab", buffering=0) as file:
            file.write(b"x")
        assert target.stat().st_size == i * BLOCK


def test_tar(default: Path, tmp_path: Path):
    tree = tmp_path / "tree"
    for i in range(40):
        (tree / f"d{i % 7}").mkdir(parents=True, exist_ok=True)
        (tree / f"d{i % 7}/f{i}").write_bytes(TEXT[i * 1000 : i * 9000])
    run("tar", "-cf", default / "seq/0", "-C", tree, ".")
    assert (default / "seq/0").stat().st_size % BLOCK == 0
    (tmp_path / "back").mkdir()
    run("tar", "-xf", default / "seq/0", "-C", tmp_path / "back")
    run("diff", "-r", tree, tmp_path / "back")
    run("tar", "-df", default / "seq/0", "-C", tree)
    names = run(
        "sh",
        "-c",
        f"tar -c -C {tree} . | gzip > {default}/seq/1; gzip -dc {default}/seq/1 | tar -t",
    )
    assert len(names.stdout.split()) == 48


def test_truncate(mounted):
    target = f"{mounted.path}/seq/0"
    run("dd", "if=/dev/zero", f"of={target}", "bs=64k", "count=3", "oflag=direct", "conv=notrunc")
    assert os.stat(target).st_size == 3 << 16
    done = run("truncate", "-s", "4096", target, check=False)
    assert (done.returncode, "Operation not permitted" in done.stderr) == (1, True)
    run("truncate", "-s", str(8 << 20), target)
    assert os.stat(target).st_size == 8 << 20
    assert zonedctl("report", mounted.image, "--zones", "2").stdout.count("full") == 1
    run("truncate", "-s", "0", target)
    assert os.stat(target).st_size == 0
    done = run("truncate", "-s", "0", f"{mounted.path}/cnv/0", check=False)
    assert (done.returncode, "Operation not permitted" in done.stderr) == (1, True)


def test_head_tail_wc_and_seek(default: Path):
    (default / "seq/0").write_bytes(TEXT[:10_000])
    assert run("head", "-c", "10", default / "seq/0").stdout == TEXT[:10].decode()
    assert run("sh", "-c", f"wc -c < {default}/seq/0").stdout.strip() == "12288"
    with (default / "seq/0").open("rb") as file:
        file.seek(-12288 + 500, os.SEEK_END)
        assert file.read(100) == TEXT[500:600]


def test_a_zone_that_runs_full(mounted):
    target = f"{mounted.path}/seq/0"
    done = run(
        "dd",
        "if=/dev/zero",
        f"of={target}",
        "bs=1M",
        "count=9",
        "oflag=direct",
        "conv=notrunc",
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert os.stat(target).st_size == 8 << 20


def test_a_zone_that_runs_full_within_a_write(default: Path):
    with (default / "seq/0").open("ab", buffering=0) as file:
        assert file.write(bytes((8 << 20) - 1000)) == (8 << 20) - 1000
        assert file.write(bytes(5000)) == 1000
        with pytest.raises(OSError, match="File too large") as caught:
            file.write(b"x")
        assert caught.value.errno == errno.EFBIG


def test_sqlite_in_a_conventional_file(mounted, tmp_path: Path):
    made = sqlite3.connect(tmp_path / "made.db")
    made.execute("create table numbers (n integer primary key, square text)")
    made.executemany("insert into numbers values (?, ?)", ((i, str(i * i)) for i in range(5000)))
    made.commit()
    made.close()
    target = f"{mounted.path}/cnv/0"
    run("dd", f"if={tmp_path}/made.db", f"of={target}", "bs=64k", "conv=notrunc,fsync")

    def ask(*statements: str) -> str:
        return run("sqlite3", target, "pragma journal_mode=MEMORY", *statements).stdout

    if shutil.which("sqlite3"):
        assert "25000000" not in ask("select square from numbers where n = 4999")
        assert ask(
            "insert into numbers values (5000, '25000000')", "pragma integrity_check"
        ).split() == [
            "memory",
            "ok",
        ]
    with sqlite3.connect(target) as database:
        assert database.execute("pragma journal_mode=MEMORY").fetchone() == ("memory",)
        database.execute("update numbers set square = 'x' where n % 2")
        database.execute("insert or replace into numbers select n + 100000, square from numbers")
    database.close()
    with sqlite3.connect(target) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = database.execute("select count(*) from numbers where square = 'x'").fetchone()[0]
        assert rows == 5000
    database.close()
    assert os.stat(target).st_size == 8 << 20


def test_mmap_of_a_conventional_file_is_shared_and_writable(mounted):
    with open(f"{mounted.path}/cnv/0", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[5 << 20 : (5 << 20) + 5] = b"hello"
        memory.flush()
        assert os.pread(file.fileno(), 5, 5 << 20) == b"hello"
        os.pwrite(file.fileno(), b"world", 100)
        assert memory[100:105] == b"world"
    with open(f"{mounted.path}/cnv/0", "rb") as file:
        file.seek(5 << 20)
        assert file.read(5) == b"hello"


def test_mmap_of_a_sequential_file(mounted, blocks: Path):
    target = f"{mounted.path}/seq/0"
    run("dd", f"if={blocks}", f"of={target}", "bs=64k", "oflag=direct", "conv=notrunc")
    for kind in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
        with (
            open(target, "rb") as file,
            mmap.mmap(file.fileno(), 0, flags=kind, prot=mmap.PROT_READ) as memory,
        ):
            assert memory[:] == blocks.read_bytes()
    with open(target, "r+b", buffering=0) as file:
        refused = error_of(lambda: mmap.mmap(file.fileno(), 4096))
        assert refused in (errno.EINVAL, errno.ENODEV)  # FUSE refuses it before it asks: ENODEV


def test_two_programs_append_to_one_file(default: Path):
    target = default / "seq/0"
    script = f"for i in $(seq 50); do printf '%0100d\\n' $i; done >> {target}"
    both = [subprocess.Popen(["sh", "-c", script]) for _ in range(2)]
    assert [child.wait(PATIENCE) for child in both] == [0, 0]
    lines = target.read_bytes().rstrip(b"\0").replace(b"\0", b"").split()
    assert sorted(lines) == sorted(2 * [b"%0100d" % i for i in range(1, 51)])
