"""Descriptors of a disk are like any others: shared by dup, fork and exec, closed with their process, no others hit."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from run.programs import made, ok


@pytest.fixture
def image(shm: Path) -> Path:
    return made(shm / "disk.img")


def program(code: str, image: Path) -> str:
    return ok(
        [sys.executable, "-c", "import os, sys, subprocess\n" + textwrap.dedent(code)],
        images=[image],
    )


def test_positions_are_shared(image: Path) -> None:
    code = """
    fd = os.open("/dev/zoned0", os.O_RDWR)
    twin = os.dup(fd)
    os.lseek(fd, 4096, 0)
    print(os.lseek(twin, 0, 1))
    if os.fork() == 0:
        os.read(twin, 100)
        os._exit(0)
    os.wait()
    print(os.lseek(fd, 0, 1))
    subprocess.run([sys.executable, "-c", "import os; os.read(0, 50)"], stdin=fd, check=True)
    print(os.lseek(fd, 0, 1))
    other = os.open(f"/dev/fd/{fd}", os.O_RDONLY)
    print(os.lseek(other, 0, 1), os.readlink(f"/proc/self/fd/{fd}"))
    """
    assert program(code, image).splitlines() == ["4096", "4196", "4246", "0 /dev/zoned0"]


def test_a_number_that_was_closed_is_somebody_elses(image: Path) -> None:
    code = """
    fd = os.open("/dev/zoned0", os.O_RDWR)
    os.closerange(fd, fd + 1)
    plain = os.open("/proc/self/comm", os.O_RDONLY)
    print(plain == fd, len(os.read(plain, 100)) > 0)
    os.close(plain)
    fd = os.open("/dev/zoned0", os.O_RDWR)
    plain = os.open("/proc/self/comm", os.O_RDONLY)
    os.dup2(plain, fd)
    print(len(os.read(fd, 100)) > 0)
    """
    assert program(code, image).splitlines() == ["True True", "True"]


def test_a_program_that_closes_everything_keeps_its_disks(image: Path) -> None:
    code = """
    fd = os.open("/dev/zoned0", os.O_RDWR)
    os.pwrite(fd, bytes(4096), 8 << 20)
    os.closerange(fd + 1, 2000)
    os.pwrite(fd, bytes(4096), (8 << 20) + 4096)
    os.fsync(fd)
    print(sorted(os.listdir("/proc/self/fd")) != [])
    """
    assert program(code, image) == "True\n"


def test_more_opens_than_a_run_has_room_for_at_once(image: Path) -> None:
    code = """
    for _ in range(20):
        if os.fork() == 0:
            for _ in range(300):
                os.open("/dev/zoned0", os.O_RDONLY)
            os.kill(os.getpid(), 9)
        os.wait()
    print("done")
    """
    assert program(code, image) == "done\n"


def test_an_exclusive_holder_that_is_killed(image: Path) -> None:
    code = """
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.open("/dev/zoned0", os.O_RDWR | os.O_EXCL)
        os.write(tell, b"x")
        os.read(ready, 100) and os.read(ready, 100)
    while True:
        try:
            os.close(os.open("/dev/zoned0", os.O_RDWR | os.O_EXCL))
        except OSError as error:
            print(error.strerror)
            break
    os.kill(child, 9)
    os.waitpid(child, 0)
    os.close(os.open("/dev/zoned0", os.O_RDWR | os.O_EXCL))
    print("free")
    """
    assert program(code, image).splitlines() == ["Device or resource busy", "free"]


def test_what_is_not_answered_fails(image: Path) -> None:
    """A call on descriptors that nothing here stands before meets EBADF, never silence."""
    code = """
    import ctypes, errno
    fd = os.open("/dev/zoned0", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    print(libc.syscall(187, fd, 0, 4096), errno.errorcode[ctypes.get_errno()])
    try:
        import mmap
        mmap.mmap(fd, 4096)
    except OSError as error:
        print(errno.errorcode[error.errno])
    """
    assert program(code, image).splitlines() == ["-1 EBADF", "ENODEV"]


def test_what_moves_bytes_between_descriptors(image: Path, shm: Path) -> None:
    """sendfile() does it, splice() and copy_file_range() are refused as for what cannot do it: cp goes on by itself."""
    (shm / "data").write_bytes(bytes(range(256)) * 512)
    code = f"""
    import errno, shutil
    disk, file = os.open("/dev/zoned0", os.O_RDWR), os.open("{shm}/data", os.O_RDWR)
    pipe = os.pipe()
    print(os.sendfile(disk, file, 0, 1 << 17), os.pread(disk, 1 << 17, 0) == os.pread(file, 1 << 17, 0))
    print(os.sendfile(file, disk, 4096, 100), os.lseek(file, 0, 1), os.pread(file, 100, 0) == bytes(range(100)))
    for call in (
        lambda: os.splice(disk, pipe[1], 4096),
        lambda: os.copy_file_range(disk, file, 4096),
        lambda: os.copy_file_range(file, disk, 4096),
    ):
        try:
            print(call())
        except OSError as error:
            print(errno.errorcode[error.errno])
    print(subprocess.run("cp /dev/zoned0 {shm}/copy && cmp /dev/zoned0 {shm}/copy", shell=True).returncode)
    """
    assert program(code, image).splitlines() == [
        "131072 True",
        "100 100 True",
        *["EINVAL"] * 3,
        "0",
    ]


def test_streams_of_stdio(image: Path) -> None:
    """libc's own streams: fopen(), and a standard stream that is a disk from the start."""
    code = """
    import ctypes
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(b"/dev/zoned0", b"r+"))
    libc.fwrite(b"hello", 1, 5, stream)
    libc.fflush(stream)
    print(os.pread(libc.fileno(stream), 5, 0))
    libc.fclose(stream)
    # A standard stream becomes one on the disk, whoever asks for it then; any other keeps libc's functions.
    libc.freopen.restype = ctypes.c_void_p
    was = ctypes.c_void_p.in_dll(libc, "stdin")
    fresh = libc.freopen(b"/dev/zoned0", b"r", was)
    room = ctypes.create_string_buffer(5)
    print(fresh == ctypes.c_void_p.in_dll(libc, "stdin").value, libc.fileno(ctypes.c_void_p(fresh)))
    print(libc.fread(room, 1, 5, ctypes.c_void_p(fresh)), room.raw)
    other = ctypes.c_void_p(libc.fopen(b"/dev/null", b"r"))
    print(libc.freopen(b"/dev/zoned0", b"r", other))
    """
    assert program(code, image).splitlines() == ["b'hello'", "True 0", "5 b'hello'", "None"]


def test_a_buffer_that_is_not_there(image: Path) -> None:
    code = """
    import ctypes, errno
    fd = os.open("/dev/zoned0", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (libc.pread, libc.pwrite):
        print(call(fd, ctypes.c_void_p(4096), ctypes.c_size_t(4096), ctypes.c_long(0)), errno.errorcode[ctypes.get_errno()])
    """
    assert program(code, image).splitlines() == ["-1 EFAULT"] * 2


def test_a_buffer_that_is_gone(image: Path) -> None:
    """One that was there: what is known of the program's memory ends with munmap() and its kin."""
    code = """
    import ctypes, errno
    fd = os.open("/dev/zoned0", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
    size, page = ctypes.c_size_t(128 * 4096), ctypes.c_size_t(4096)
    def places(begin): # holes of a page, which nobody else fills
        return [ctypes.c_void_p(begin + number * 8192) for number in range(64)]
    def new():
        return places(libc.mmap(None, size, 3, 0x22, -1, ctypes.c_long(0)))
    def tried():
        return {
            errno.errorcode[ctypes.get_errno()] if call(fd, at, page, ctypes.c_long(0)) < 0 else "done"
            for call in (libc.pread, libc.pwrite)
            for at in buffers
        }
    for gone in (
        lambda at, other: libc.munmap(at, page),
        lambda at, other: libc.mprotect(at, page, 0),
        lambda at, other: libc.mmap(at, page, 0, 0x32, -1, ctypes.c_long(0)),
        lambda at, other: libc.mremap(at, page, page, 3, other),
    ):
        buffers, others = new(), new()
        print(*tried(), end=" ")
        for at, other in zip(buffers, others):
            gone(at, other)
        print(*tried())
    """
    assert program(code, image).splitlines() == ["done EFAULT"] * 4


def test_handlers_wait_until_the_core_is_left(image: Path) -> None:
    """Handlers that write to the disk themselves, in a program that does nothing else: none hangs, none is lost."""
    code = """
    import signal
    fd = os.open("/dev/zoned0", os.O_RDWR)
    seen = 0
    def handler(*_):
        global seen
        seen += 1
        os.pwrite(fd, b"h" * 4096, 4096)
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    while seen < 200:
        os.pwrite(fd, b"m" * 65536, 65536)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(os.pread(fd, 1, 4096), seen >= 200)
    """
    assert program(code, image) == "b'h' True\n"
