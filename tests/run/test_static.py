"""Programs without libc are told of the run's names what all others are, however they are started."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from run.programs import Needs, made, ok, started
from run.test_users import as_nobody, image
from zoned.running.judging import beginning
from zoned.running.session import RunError

assert image  # the fixture

SOURCE = Path(__file__).parents[1] / "native/pathcalls.c"


def built(needs: Needs, folder: Path, *flags: str) -> str:
    needs("cc", shutil.which("gcc") is not None, "compiling a program")
    needs("x86-64", platform.machine() == "x86_64", "answers for programs without libc")
    program = folder / "-".join(["pathcalls", *flags])
    subprocess.run(
        ["gcc", "-O1", "-D_GNU_SOURCE=1", *flags, "-o", str(program), str(SOURCE)],
        check=True,
        cwd=folder,
    )
    return str(program)


def told_of_names(program: str, disk: Path) -> list[str]:
    """Of a disk whose name is not taken afterwards: what should have been refused may have been done."""
    try:
        return ok([program, "/dev/pathcalls"], "--disk", f"pathcalls={disk}").splitlines()
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir("/dev/pathcalls") if os.path.isdir("/dev/pathcalls") else os.unlink(
                "/dev/pathcalls"
            )


def test_a_static_program_is_told_what_any_other_is(shm: Path, needs: Needs) -> None:
    disk = made(shm / "disk.img")
    others = told_of_names(built(needs, shm), disk)
    assert len(others) > 70
    assert "link /sys/class/block/pathcalls: 37 ../../devices/virtual/block/pathcalls" in others
    assert "link /dev/pathcalls: -1 EINVAL" in others, "it is a node, and there"
    assert "mknod : -1 EEXIST" in others
    assert "read of the standard input : 16 " in others
    assert told_of_names(built(needs, shm, "-static"), disk) == others


def test_numbers_that_a_shell_redirects(shm: Path, needs: Needs) -> None:
    """To a static program, and within a folder of the run's."""
    program = built(needs, shm, "-static")
    script = f"""cd /sys/block/zoned0
        {program} /dev/zoned0 look </dev/zoned0 >all
        {program} /dev/fd/7 look 7</dev/zoned0 | grep '^node'"""
    script = script.replace(">all", f">{shm}/all")
    told = ok(["sh", "-ec", script], images=[made(shm / "disk.img")]).splitlines()
    assert told[0].startswith("node /dev/fd/7: stat 60")
    assert (shm / "all").read_text(encoding="ascii").startswith("node /dev/zoned0: stat 60")


START = """
import ctypes, os, sys
how, *words = sys.argv[1:]
libc = ctypes.CDLL(None)
libc.popen.restype = ctypes.c_void_p
given = (ctypes.c_char_p * (len(words) + 1))(*map(os.fsencode, words), None)
nothing = (ctypes.c_char_p * 1)(None)
folder, name = map(os.fsencode, os.path.split(words[0]))
fd, below = os.open(words[0], os.O_RDONLY), os.open(folder, os.O_RDONLY)
match how:
    case "fexecve": os.execve(fd, words, {})
    case "execveat": libc.execveat(fd, b"", given, nothing, 0x1000)
    case "execveat below": libc.execveat(below, name, given, nothing, 0)
    case "syscall execve": libc.syscall(59, os.fsencode(words[0]), given, nothing)
    case "syscall execveat": libc.syscall(322, fd, b"", given, nothing, 0x1000)
    case "system":
        os.environ.clear()
        sys.exit(os.system(" ".join(words)))
    case "popen":
        os.environ.clear()
        sys.exit(libc.pclose(ctypes.c_void_p(libc.popen(os.fsencode(" ".join(words)), b"w"))))
sys.exit("it was not started")
"""
FORMS = ["fexecve", "execveat", "execveat below", "syscall execve", "syscall execveat"]


@pytest.mark.program  # whose environment has no runtime of a sanitizer
@pytest.mark.parametrize("how", [*FORMS, "system", "popen"])
@pytest.mark.parametrize("flags", [(), ("-static",)], ids=["dynamic", "static"])
def test_every_way_to_start_a_program(
    shm: Path, needs: Needs, how: str, flags: tuple[str, ...]
) -> None:
    """With an environment that has nothing of the run."""
    program = built(needs, shm, *flags)
    command = [sys.executable, "-c", START, how, program, "/dev/zoned0", "look"]
    told = ok(command, images=[made(shm / "disk.img")])
    assert told.startswith("node /dev/zoned0: stat 60")


def test_a_program_of_anothers_group_is_refused(shm: Path, needs: Needs) -> None:
    """Not by its user's privileges: to root, too, the host lets no library before it."""
    needs("root", os.geteuid() == 0, "a program of another group")
    program = shm / "mine"
    program.write_bytes(b"")
    needs("suid", not os.statvfs(program).f_flag & os.ST_NOSUID, "set-uid programs in memory")
    for mode in (0o4755, 0o2755):
        os.chown(program, 0, 0)
        program.chmod(mode)
        assert beginning([str(program)])[-1] == str(program), (
            "to become what one is changes nothing"
        )
        os.chown(program, 65534, 65534)
        program.chmod(mode)
        with pytest.raises(RunError, match="is a set-uid program or has capabilities"):
            beginning([str(program)])


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (b"\x7fELF\x01\x01", "is a program of 32 bits"),
        (b"\x7fELF\x02\x01" + bytes(58) + b"/lib/ld-musl-x86_64.so.1", "uses the libc musl"),
    ],
    ids=["32 bits", "musl"],
)
def test_a_program_before_which_no_library_can_stand(
    tmp_path: Path, head: bytes, sentence: str
) -> None:
    program = tmp_path / "other"
    program.write_bytes(head.ljust(4096, b"\0"))
    program.chmod(0o755)
    with pytest.raises(RunError, match=sentence):
        beginning([str(program)])
    done = started([str(program)], "--fresh", "test")
    assert done.returncode == 2
    assert sentence in done.stderr


@pytest.mark.parametrize("before", [["env"], ["nice"], ["sh", "-c", '"$0" "$@"']])
def test_a_set_uid_program_behind_another_is_told(image: Path, before: list[str]) -> None:
    """It begins all the same: most of them have nothing to do with the disks."""
    (status, said), (other, nothing) = as_nobody(
        image, [*before, "su", "--version"], [*before, "true"]
    )
    assert (status, other, nothing) == (0, 0, "")
    assert "is a set-uid program or has capabilities: neither it nor what it starts" in said
    assert said.count("zonedctl run:") == 1


def test_a_spawned_set_uid_program_is_told(image: Path, needs: Needs) -> None:
    python = shutil.which("python3", path="/usr/bin")
    needs("python", python is not None, "an interpreter that anybody may start")
    assert python is not None
    spawn = "import os; os.waitpid(os.posix_spawnp('su', ['su', '--version'], os.environ), 0)"
    ((_, said),) = as_nobody(image, [python, "-c", spawn])
    assert "/su is a set-uid program or has capabilities" in said


def test_sg_io_of_a_static_program_is_refused(shm: Path, needs: Needs) -> None:
    done = started([built(needs, shm, "-static"), "/dev/zsg0"], images=[made(shm / "disk.img")])
    assert done.stdout.splitlines()[0].startswith("node /dev/zsg0: stat 20")
    assert "SG_IO /dev/zsg0: -1 EOPNOTSUPP" in done.stdout.splitlines()
