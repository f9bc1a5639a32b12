"""ZoneFS.open: Python's io stack on sequential and conventional files, the path handle, threads, ends."""

from __future__ import annotations

import errno
import io
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoned
import zonefs
from waiting import PATIENCE

MIB = 1 << 20


# ------------------------------------------------------------ kinds of files


@pytest.mark.parametrize(
    ("path", "mode", "buffering", "kind"),
    [
        ("seq/0", "rb", 0, zonefs.ZoneFile),
        ("seq/0", "ab", 0, zonefs.ZoneFile),
        ("seq/0", "rb", -1, io.BufferedReader),
        ("seq/0", "wb", -1, zonefs.BlockWriter),
        ("seq/0", "ab", 5000, zonefs.BlockWriter),
        ("seq/0", "r+b", -1, zonefs.BlockRandom),
        ("seq/0", "a+b", -1, zonefs.BlockRandom),
        ("cnv/0", "r+b", -1, io.BufferedRandom),
        ("cnv/0", "ab", -1, io.BufferedWriter),
        ("seq/0", "r", -1, io.TextIOWrapper),
        ("seq/0", "w", 1, io.TextIOWrapper),
    ],
)
def test_kinds(fs: zonefs.ZoneFS, path: str, mode: str, buffering: int, kind: type) -> None:
    with fs.open(path, mode, buffering) as file:
        assert isinstance(file, kind)
        assert file.readable() == ("r" in mode or "+" in mode)
        assert file.writable() == ("r" not in mode or "+" in mode)
        assert file.seekable()
        with pytest.raises(io.UnsupportedOperation):
            file.fileno()
    assert file.closed
    assert issubclass(zonefs.BlockWriter, io.BufferedWriter)
    assert issubclass(zonefs.BlockRandom, io.BufferedRandom)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "invalid mode"),
        (("rw",), "invalid mode"),
        (("rbb",), "invalid mode"),
        (("U",), "invalid mode"),
        (("rbt",), "text and binary"),
        (("r", 0), "unbuffered text"),
        (("rb", 1), "line buffering"),
        (("rb", -1, "utf-8"), "'encoding'"),
        (("rb", -1, None, "strict"), "'errors'"),
        (("rb", -1, None, None, "\n"), "'newline'"),
    ],
)
def test_what_open_refuses(fs: zonefs.ZoneFS, arguments: tuple[Any, ...], message: str) -> None:
    for opener in (fs.open, fs.open_stream):
        with pytest.raises(ValueError, match=message):
            opener("seq/0", *arguments)


def test_open_x_and_directories(fs: zonefs.ZoneFS) -> None:
    with pytest.raises(FileExistsError):
        fs.open("seq/0", "xb")
    with pytest.raises(IsADirectoryError):
        fs.open("seq")
    with pytest.raises(FileNotFoundError):
        fs.open("seq/99", "wb")


# ------------------------------------------------------------ whole blocks


def test_the_example_of_the_manual(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open("seq/0", "ab") as file:
        file.write(block)
    with fs.open("seq/0", "ab") as file:
        for piece in (block[:1], block[1:4000], block[4000:], block, block[:2048]):
            file.write(piece)
        assert file.tell() == 4096 * 3 + 2048
        file.write(block[2048:])
    assert (fs / "seq" / "0").read_bytes() == block * 4


def test_a_last_block_that_is_not_whole(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    file = fs.open("seq/0", "wb")
    file.write(block + b"abc")
    with fails(errno.EINVAL, "3 bytes at the end of seq/0 make no whole block of 4096: write 4093"):
        file.flush()
    assert fs.stat("seq/0").st_size == 4096  # what was whole went
    with fails(errno.EINVAL, "open_stream()"):
        file.seek(0)
    file.write(bytes(4093))
    file.flush()
    file.write(b"x")
    with fails(errno.EINVAL, "pad=True"):
        file.close()
    assert file.closed
    assert (fs / "seq" / "0").read_bytes() == block + b"abc" + bytes(4093)


def test_padding(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open("seq/0", "ab", pad=True) as file:
        file.write(b"abc")
        file.flush()
        file.flush()
        assert fs.stat("seq/0").st_size == 4096
        file.write(b"def")
    assert (fs / "seq" / "0").read_bytes() == b"abc".ljust(4096, b"\0") + b"def".ljust(4096, b"\0")
    with fs.open("seq/1", "w", pad=True, encoding="utf-8") as text:
        print("zwölf", file=text)
    with fs.open("seq/1", encoding="utf-8") as text:
        assert text.readline() == "zwölf\n"


@pytest.mark.parametrize(
    "sizes", [[1] * 9000, [4095, 4097, 1, 8191], [100_000, 3, 70_000, 65_536 * 2]]
)
def test_any_pieces(fs: zonefs.ZoneFS, sizes: list[int]) -> None:
    data = os.urandom(sum(sizes))
    with fs.open("seq/0", "wb", pad=True) as file:
        at = 0
        for size in sizes:
            assert file.write(data[at : at + size]) == size
            at += size
    read = (fs / "seq" / "0").read_bytes()
    assert read[: len(data)] == data
    assert len(read) == -(-len(data) // 4096) * 4096
    assert not any(read[len(data) :])


def test_reading_and_writing_one_file(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    with fs.open("seq/0", "w+b") as file:
        file.write(block)
        file.write(block[:10])
        with fails(errno.EINVAL):
            file.read(1)
        file.write(block[10:])
        file.seek(4090)
        assert file.read(12) == block[4090:] + block[:6]
        assert file.peek(1)[:1] == block[6:7]
        file.seek(0)
        with fails(errno.EINVAL, "written at its end only, which is 8192"):
            file.write(block)
            file.flush()
        with fails(errno.EINVAL):  # Python keeps what it could not write
            file.close()
    with fs.open("seq/0", "a+b") as file:
        assert file.tell() == 8192
        file.seek(0)
        assert file.read(4096) == block
        file.seek(0, os.SEEK_END)
        file.write(block)
    assert fs.stat("seq/0").st_size == 12288


def test_a_full_zone(fs: zonefs.ZoneFS, fails: Any) -> None:
    file = fs.open("seq/0", "ab")
    with fails(errno.EFBIG):
        file.write(bytes(5 * MIB))
    assert fs.stat("seq/0").st_size == 4 * MIB
    file.close()
    raw = fs.open("seq/1", "ab", buffering=0)
    assert raw.write(bytes(5 * MIB)) == 4 * MIB
    raw.close()


def test_conventional_files(fs: zonefs.ZoneFS, fails: Any) -> None:
    with fs.open("cnv/0", "r+b") as file:
        file.seek(1000)
        file.write(b"here")
        file.seek(-4, os.SEEK_END)
        file.write(b"last")
    with fs.open("cnv/0", "rb") as file:
        file.seek(998)
        assert file.read(8) == b"\0\0here\0\0"
        assert file.read()[-4:] == b"last"
    with fails(errno.EPERM, "its size is fixed"):
        fs.open("cnv/0", "wb")


def test_shutil(fs: zonefs.ZoneFS) -> None:
    data = os.urandom(300_000 // 4096 * 4096)
    with fs.open("seq/0", "wb") as to:
        shutil.copyfileobj(io.BytesIO(data), to)
    with fs.open("seq/0", "rb") as source, fs.open("seq/1", "wb") as to:
        shutil.copyfileobj(source, to)
    assert (fs / "seq" / "1").read_bytes() == data


def test_raw_files(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open("seq/0", "wb", buffering=0) as file:
        assert (file.name, file.mode) == ("seq/0", "wb")
        assert file.write(memoryview(block)) == 4096
        assert file.write(bytearray(block)) == 4096
        with pytest.raises(TypeError, match="str"):
            file.write("text")
        with pytest.raises(TypeError, match=r"integer|index|interpreted"):
            file.pwrite(block, "1")
    with fs.open("seq/0", "rb", buffering=0) as file:
        assert file.read(5) == block[:5]
        buffer = bytearray(10)
        assert file.readinto(buffer) == 10
        assert bytes(buffer) == block[5:15]
        assert file.readall() == (block * 2)[15:]
        assert file.read() == b""
        with pytest.raises(BufferError, match="read-only"):
            file.readinto(b"12345")
        assert file.pread(2**40, 8190) == block[-2:]
    for call in (file.tell, file.readall, file.fsync, lambda: file.write(b"")):
        with pytest.raises(ValueError, match="closed"):
            call()
    file.close()


# ------------------------------------------------------------ the path handle


def test_paths(fs: zonefs.ZoneFS, fails: Any, block: bytes) -> None:
    path = fs / "seq" / "3"
    assert (str(path), path.name, path.parts) == ("seq/3", "3", ("seq", "3"))
    assert path == fs / "seq/3" == (fs / "seq").joinpath("3")
    assert {path: 1}[fs / "seq/3"] == 1
    assert path.parent == fs / "seq"
    assert [str(p) for p in (fs / "/").iterdir()] == ["cnv", "seq"]
    assert [p.name for p in sorted((fs / "seq").iterdir(), reverse=True)][:3] == ["13", "12", "11"]
    assert path.is_file()
    assert not path.is_dir()
    assert (fs / "seq").is_dir()
    assert not (fs / "seq" / "77").exists()
    assert path.write_bytes(block * 2) == 8192
    assert path.write_bytes(b"abc", pad=True) == 3
    assert path.stat().st_size == 4096
    with fails(errno.EINVAL):
        path.write_bytes(b"abc")
    (fs / "cnv" / "0").write_bytes(b"front")
    with (fs / "cnv/0").open("rb") as file:
        assert file.read(6) == b"front\0"
    assert path.write_text("zwölf\n", "utf-8", newline="\r\n", pad=True) == 6
    assert path.read_text("utf-8").rstrip("\0") == "zwölf\n"
    with path.open_stream("wb") as stream:
        stream.write(b"abc")
    with path.open_stream("rb") as stream:
        assert stream.read() == b"abc"
    assert path.parents == (fs / "seq", fs / "/")
    path.truncate(0)
    assert path.read_bytes() == b""
    path.chmod(0o600)
    assert path.stat().st_mode == 0o100600
    with pytest.raises(TypeError):
        os.fspath(path)  # type: ignore[call-overload]
    with zonefs.ZoneFS(fs.device) as other:
        assert other / "seq/3" != path
        with pytest.raises(ValueError, match="another ZoneFS"):
            other.stat(path)


# ------------------------------------------------------------ ends


def test_close_flushes_what_is_open(disk: Callable[..., zoned.Device], block: bytes) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    fs = zonefs.ZoneFS(dev)
    file = fs.open("seq/0", "wb")
    file.write(block)
    stream = fs.open_stream("seq/1", "w")
    stream.write("kept")
    assert dev.zones[2].wp == 8 * MIB
    fs.close()
    fs.close()
    assert file.closed
    assert stream.closed
    assert dev.zones[2].wp == 8 * MIB + 4096
    for call in (fs.listdir, fs.statvfs, lambda: fs.stat("seq/0"), lambda: fs.counters):
        with pytest.raises(ValueError, match="the file system is closed"):
            call()
    with zonefs.ZoneFS(dev) as again, again.open_stream("seq/1") as file:
        assert file.read() == "kept"


def test_close_tells_what_was_lost(disk: Callable[..., zoned.Device], fails: Any) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    fs = zonefs.ZoneFS(dev)
    kept = fs.open("seq/0", "wb")
    kept.write(b"half")
    with fails(errno.EINVAL, "4 bytes"):
        fs.close()
    assert fs.closed
    assert kept.closed


def test_the_device_goes_first(disk: Callable[..., zoned.Device], block: bytes) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    fs = zonefs.ZoneFS(dev, explicit_open=True)
    file = fs.open("seq/0", "wb", buffering=0)
    file.write(block)
    dev.close()
    for call in (lambda: file.write(block), lambda: fs.stat("seq/0"), lambda: fs.open("seq/1")):
        with pytest.raises(ValueError, match="the device is closed"):
            call()
    file.close()
    fs.close()


@pytest.mark.parametrize("mode", ["wb", "w+b"])
def test_a_closed_file_takes_nothing(fs: zonefs.ZoneFS, mode: str) -> None:
    """Less than a block would only be held back, and nobody would ask for it any more."""
    file = fs.open("seq/0", mode, pad=True)
    file.close()
    for data in (b"x", b"", bytes(4096)):
        with pytest.raises(ValueError, match="closed file"):
            file.write(data)
    assert fs.stat("seq/0").st_size == 0


AT_EXIT = """
import os, sys, zoned, zonefs
fs = zonefs.ZoneFS(zoned.open(sys.argv[1]))
held = fs.open("seq/0", "wb", pad=True)
held.write(b"held back")
stream = fs.open_stream("seq/1", "w")
stream.write("a line")
if os.fork() == 0:
    sys.exit()  # what is held back is the parent's
os.wait()
"""


def test_what_is_left_open_is_written_at_exit(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    with zoned.create(image, size="64MiB", zone_size="4MiB") as dev:
        zonefs.mkfs(dev)
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", AT_EXIT, str(image)]
    done = subprocess.run(command, check=True, timeout=PATIENCE, capture_output=True, text=True)
    assert "ResourceWarning: unclosed <zonefs.ZoneFS" in done.stderr
    with zoned.open(image) as dev, zonefs.ZoneFS(dev) as fs:
        assert (fs / "seq/0").read_bytes() == b"held back".ljust(4096, b"\0")
        with fs.open_stream("seq/1") as stream:
            assert stream.read() == "a line"


def test_forgotten_files_and_mounts_warn(disk: Callable[..., zoned.Device]) -> None:
    dev = disk()
    zonefs.mkfs(dev)
    fs = zonefs.ZoneFS(dev)
    holder = [fs]
    del fs
    with pytest.warns(ResourceWarning, match=r"unclosed <zonefs\.ZoneFS"):
        holder.clear()


# ------------------------------------------------------------ threads and processes


def test_threads_append_to_one_file(fs: zonefs.ZoneFS) -> None:
    """Every block lands once, whole: 4 threads, each with its own descriptor, and one they share."""
    shared = fs.open("seq/1", "ab", buffering=0)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with fs.open("seq/0", "ab", buffering=0) as own:
                for turn in range(50):
                    mark = bytes([number, turn]) * 2048
                    assert own.write(mark) == 4096
                    assert shared.write(mark) == 4096
                    fs.stat("seq/0")
        except (OSError, ValueError, AssertionError) as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared.close()
    assert errors == []
    for path in ("seq/0", "seq/1"):
        data = (fs / path).read_bytes()
        blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
        assert sorted(block[:2] for block in blocks) == [
            bytes([n, turn]) for n in range(4) for turn in range(50)
        ]
        assert all(block == block[:2] * 2048 for block in blocks)


@pytest.mark.parametrize("mode", ["ab", "a+b"])
def test_threads_share_a_buffered_file(fs: zonefs.ZoneFS, mode: str) -> None:
    """Records that are no whole blocks: each comes out once, and in one piece."""
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with fs.open("seq/0", mode, buffering=4096, pad=True) as file:

            def work(number: int) -> None:
                for _ in range(1000):
                    assert file.write(bytes([number]) * 100) == 100

            threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3, 4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(often)
    data = (fs / "seq/0").read_bytes().rstrip(b"\0")
    records = [data[at : at + 100] for at in range(0, len(data), 100)]
    assert sorted(records) == [bytes([n]) * 100 for n in (1, 2, 3, 4) for _ in range(1000)]


def test_a_shared_position(fs: zonefs.ZoneFS) -> None:
    """Without O_APPEND too: threads that share a descriptor take turns with its position."""
    file = fs.open("seq/0", "wb", buffering=0)
    threads = [
        threading.Thread(target=lambda: [file.write(bytes(4096)) for _ in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.tell() == fs.stat("seq/0").st_size == 400 * 4096
    file.close()


@pytest.mark.parametrize("mode", ["wb", "w+b"])
def test_an_interrupt_amid_a_close_is_no_error_of_the_file_system(
    fs: zonefs.ZoneFS, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Python's buffer is gone then, and its file still open: closing it again finds nothing to flush."""
    file: Any = fs.open("seq/0", mode)
    file.write(bytes(4096))
    raw = type(file.raw)
    whole, interrupts = raw.close, [KeyboardInterrupt]

    def close(self: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        whole(self)

    monkeypatch.setattr(raw, "close", close)
    with pytest.raises(KeyboardInterrupt):
        file.close()
    assert not file.closed
    fs.close()
    assert file.closed and fs.closed


def test_close_while_others_write(disk: Callable[..., zoned.Device]) -> None:
    """close() of the file, the ZoneFS and the disk wait for calls under way; later ones are refused."""
    for what in ("file", "fs", "device"):
        dev = disk(size="256MiB", zone_size="64MiB", conventional=1)
        zonefs.mkfs(dev)
        fs = zonefs.ZoneFS(dev)
        file = fs.open("seq/0", "ab", buffering=0)
        ends: list[str] = []
        started = threading.Barrier(4)

        def work(file: Any = file, fs: Any = fs, ends: list[str] = ends, go: Any = started) -> None:
            go.wait()
            try:
                while True:
                    if file.write(bytes(65536)) == 0 or fs.stat("seq/0").st_size > 60 * MIB:
                        fs.truncate("seq/0", 0)
            except ValueError as error:
                ends.append(str(error))
            except OSError as error:
                ends.append(errno.errorcode[error.errno or 0])

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait()
        {"file": file, "fs": fs, "device": dev}[what].close()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert len(ends) == 3
        allowed = {
            "I/O operation on closed file",
            "the file system is closed",
            "the device is closed",
            "EIO",
        }
        assert set(ends) <= allowed
        fs.close()
        dev.close()


def test_a_forked_child(fs: zonefs.ZoneFS, block: bytes) -> None:
    with fs.open("seq/0", "ab", buffering=0) as file:
        file.write(block)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                file.write(block)
                code = 0 if fs.stat("seq/0").st_size == 8192 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        # The child had a mount of its own, as it were: its write is found when asked for.
        assert fs.revalidate("seq/0")
        assert fs.stat("seq/0").st_size == 8192
        assert file.write(block) == 4096


def test_a_child_forked_while_threads_are_inside_calls(fs: zonefs.ZoneFS) -> None:
    """Whatever lock they held is free in the child: it reads, writes, closes."""
    stop = threading.Event()

    def work(number: int) -> None:
        with fs.open(f"seq/{number}", "ab", buffering=0) as file:
            while not stop.is_set():
                file.write(bytes(MIB))
                if fs.stat(f"seq/{number}").st_size == 4 * MIB:
                    file.truncate(0)
                    file.seek(0)

    def child() -> None:
        for number in range(3):
            with fs.open(f"seq/{number}", "rb") as file:
                file.read(4096)
        with fs.open("seq/9", "ab", buffering=0) as file:
            assert file.write(bytes(4096)) == 4096
        fs.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    ends = []
    for _ in range(15):
        pid = os.fork()
        if pid == 0:
            code = 1
            signal.alarm(20)
            try:
                child()
                code = 0
            finally:
                os._exit(code)
        ends.append(os.waitpid(pid, 0)[1])
        fs.revalidate("seq/9")  # each child wrote a block
    stop.set()
    for thread in threads:
        thread.join()
    assert ends == [0] * 15
    assert fs.stat("seq/9").st_size == 15 * 4096
