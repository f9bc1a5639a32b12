"""Mounting and unmounting: every way in which it can fail or end, and nothing left behind."""

from __future__ import annotations

import errno
import gc
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zoned
import zonefs
from fuse.tools import error_of, opened, run, serving, zonedctl
from waiting import PATIENCE, until
from zoned import mounts
from zonefs import attach

BLOCK = 4096


def is_mounted(place: Path) -> bool:
    return mounts.top(str(place)) is not None


# ---------------------------------------------------------------- the mount point


def test_a_mount_point_that_is_missing(disk, place):
    with pytest.raises(FileNotFoundError, match="does not exist: make the directory first"):
        zonefs.mount(disk, place / "missing")


def test_a_mount_point_that_is_a_file(disk, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is not a directory"):
        zonefs.mount(disk, tmp_path / "file")
    with pytest.raises(NotADirectoryError, match="below something that is not a directory"):
        zonefs.mount(disk, tmp_path / "file" / "x")


def test_a_mount_point_that_is_in_use(disk, place):
    with zonefs.mount(disk, place):
        with pytest.raises(OSError, match=r"is in use: .* is mounted there") as caught:
            zonefs.mount(disk, place)
        assert caught.value.errno == errno.EBUSY


def test_a_mount_point_that_is_not_empty(disk, place):
    (place / "hidden").touch()
    with pytest.raises(OSError, match="is not empty, and the mount would hide 'hidden'") as caught:
        zonefs.mount(disk, place)
    assert caught.value.errno == errno.ENOTEMPTY
    assert not is_mounted(place)
    with zonefs.mount(disk, place, nonempty=True):
        assert sorted(os.listdir(place)) == ["cnv", "seq"]
    assert os.listdir(place) == ["hidden"]


@pytest.mark.parametrize("name", ["mo unt, 1", "a\rb", "a\nb", "\\011", "é", "\udcff", "#"])
def test_names_of_any_kind(shm, tmp_path, name):
    from fuse.conftest import make_disk

    image = make_disk(shm, f"{name}, b\\c.img")
    where = tmp_path / name
    where.mkdir()
    with zonefs.mount(image, where) as mount:
        assert mount.path == str(where)
        assert mounts.top(str(where)).source == image
        Path(where / "seq/0").write_bytes(b"x")
        with pytest.raises(OSError, match="is mounted there"):
            zonefs.mount(image, where)
    assert not is_mounted(where)


def test_a_link_to_the_mount_point(disk, place, tmp_path):
    (tmp_path / "link").symlink_to(place)
    with zonefs.mount(disk, tmp_path / "link") as mount:
        assert mount.path == str(place)
        assert is_mounted(place)


# ---------------------------------------------------------------- the disk


def test_not_a_disk(tmp_path, place):
    (tmp_path / "file").write_bytes(bytes(100_000))
    with pytest.raises(zoned.NotAnImageError):
        zonefs.mount(tmp_path / "file", place)
    with pytest.raises(FileNotFoundError):
        zonefs.mount(tmp_path / "missing", place)


def test_not_a_zonefs(shm, place):
    with zoned.create(shm / "bare.img"):
        pass
    with pytest.raises(OSError, match="magic") as caught:
        zonefs.mount(shm / "bare.img", place)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"errors": "panic"}, "errors is 'panic': it must be one of"),
        ({"perm": 0o1000}, "perm is 0o1000"),
        ({"uid": -1}, "uid is -1"),
        ({"workers": 1000}, "workers is 1000: it must be 0 to 32"),
        ({"workers": -1}, "workers is -1"),
        ({"workers": 1 << 70}, "workers is 1180591620717411303424"),
        ({"workers": "2"}, "workers must be an integer, not str"),
        ({"gid": 1.5}, "gid must be an integer, not float"),
    ],
)
def test_options_out_of_range(disk, place, keywords, text):
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises((ValueError, TypeError), match=text):
        zonefs.mount(disk, place, **keywords)
    assert not is_mounted(place)
    assert len(os.listdir("/proc/self/fd")) == before


# ---------------------------------------------------------------- what is missing on the machine


def test_without_libfuse(disk, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "zonefs._fuse", None)
    monkeypatch.delattr(zonefs, "_fuse")
    with pytest.raises(
        OSError, match=r"built without libfuse3; install it .* libfuse3-dev"
    ) as caught:
        zonefs.mount(disk, place)
    assert caught.value.errno == errno.EOPNOTSUPP


def test_without_the_device(disk, place, monkeypatch, tmp_path):
    monkeypatch.setattr(attach, "DEVICE", str(tmp_path / "no-fuse"))
    with pytest.raises(FileNotFoundError, match=r"there is no .*modprobe fuse"):
        zonefs.mount(disk, place)


# A user without privileges; /dev/fuse as distributions have it. {body} is what he does.
UNPRIVILEGED = """
import os, sys
import array, glob, select, shutil, socket, subprocess, warnings
import zoned, zonefs, zonefs._fuse, zoned.openers
os.setgroups([]); os.setgid(65534); os.setuid(65534)
image, place = sys.argv[1:]
{body}
"""


def as_nobody(disk: str, place: Path, body: str) -> subprocess.CompletedProcess[str]:
    folder = place.parent
    for path in (folder, place, Path(disk), Path(disk).parent):
        os.chown(path, 65534, 65534)
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent.name:
            parent.chmod(parent.stat().st_mode | 0o111)
    script = folder / "script.py"
    script.write_text(UNPRIVILEGED.format(body=body))
    node = folder / "node"
    shell = f"mknod {node} c 10 229 && chmod 666 {node} && mount --bind {node} /dev/fuse && exec "
    shell += f"{sys.executable} -W error {script} {disk} {place}"
    return run("unshare", "-m", "sh", "-c", shell, check=False)


@pytest.fixture
def root(needs):
    needs("root", os.geteuid() == 0, "becoming another user")


def test_a_user_without_privileges(root, disk, place):
    done = as_nobody(
        disk,
        place,
        """
with zonefs.mount(image, place) as mount:
    with open(place + "/seq/0", "ab") as file:
        file.write(b"mine")
        try:
            mount.unmount()
        except OSError as error:
            print(error.errno, error.strerror)
    now = os.stat(place + "/seq/0")
    print(now.st_uid, now.st_gid, now.st_size)
print(os.listdir(place))
""",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{errno.EBUSY} {place} is in use by process ")
    assert lines[1:] == [f"65534 65534 {BLOCK}", "[]"]


def test_a_user_without_permission(root, disk, place):
    done = as_nobody(
        disk,
        place,
        """
for where, options, path in (
    (place, {"allow_other": True}, os.environ["PATH"]), ("/usr", {"nonempty": True}, os.environ["PATH"]), (place, {}, ""),
):
    os.environ["PATH"] = path
    try:
        zonefs.mount(image, where, **options)
    except PermissionError as error:
        print(error.strerror)
""",
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert (
        "option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf" in lines[0]
    )
    assert lines[1] == "/usr cannot be mounted on: user has no write access to mountpoint /usr"
    assert lines[2].startswith("mounting needs root or fusermount3, which is not there: install it")


# ---------------------------------------------------------------- the end


def test_unmount_says_who_is_in_the_way(disk, place):
    with zonefs.mount(disk, place) as mount:
        with opened(place / "seq/0", os.O_RDONLY):
            with pytest.raises(OSError, match=f"in use by process {os.getpid()} ") as caught:
                mount.unmount()
            assert caught.value.errno == errno.EBUSY
            assert mount.mounted
        mount.unmount()
        assert not mount.mounted
        mount.unmount()
        for use in (lambda: mount.counters, lambda: mount.options, lambda: mount.last_error):
            with pytest.raises(ValueError, match="was unmounted"):
                use()


def test_unmount_by_force_cuts_users_off(disk, place):
    mount = zonefs.mount(disk, place)
    fd = os.open(place / "seq/0", os.O_WRONLY)
    assert os.write(fd, b"kept") == 4
    mount.unmount(force=True)
    assert error_of(os.write, fd, b"lost") == errno.ENOTCONN
    assert error_of(os.close, fd) == errno.ENOTCONN
    assert not is_mounted(place)
    with zonefs.mount(disk, place):
        assert (place / "seq/0").read_bytes() == b"kept" + bytes(BLOCK - 4)


def test_leaving_the_with_block_cuts_users_off_and_says_so(disk, place):
    with (
        pytest.warns(ResourceWarning, match=r"in use by .* it was cut off"),
        zonefs.mount(disk, place),
    ):
        fd = os.open(place / "seq/0", os.O_RDONLY)
    assert not is_mounted(place)
    assert error_of(os.close, fd) == errno.ENOTCONN


def test_somebody_else_unmounts(disk, place):
    mount = zonefs.mount(disk, place)
    assert mount.wait(0.01) is False
    run("umount", place)
    assert mount.wait(PATIENCE) is True
    assert not mount.mounted
    mount.unmount()
    zoned.open(disk).close()


def test_forgotten_mounts_are_unmounted_with_a_warning(disk, place):
    with pytest.warns(ResourceWarning, match="was not unmounted"):
        zonefs.mount(disk, place)
    assert not is_mounted(place)


def test_mounts_end_with_the_process(disk, place):
    run(sys.executable, "-c", f"import zonefs; m = zonefs.mount({disk!r}, {str(place)!r})")
    assert not is_mounted(place)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_mounts_end_with_a_process_that_is_told_to_end(disk, place, number):
    script = f"""
import time, zonefs
mount = zonefs.mount({disk!r}, {str(place)!r})
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with child:
        assert child.stdout.readline() == b"up\n"
        assert is_mounted(place)
        child.send_signal(number)
        try:
            assert child.wait(PATIENCE) == -number
        finally:
            child.kill()
    assert not is_mounted(place)


def test_a_forked_child_cannot_use_it(disk, place):
    with zonefs.mount(disk, place) as mount:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                mount.unmount()
            except RuntimeError as error:
                status = 0 if "a forked child cannot use it" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert mount.mounted
        assert sorted(os.listdir(place)) == ["cnv", "seq"]


def test_a_forked_child_does_not_keep_it_half_alive(disk, place):
    """The parent is killed while its child lives on: the mount must fail, not hang."""
    script = f"""
import os, time, zonefs
mount = zonefs.mount({disk!r}, {str(place)!r})
pid = os.fork()
if pid == 0:
    time.sleep(60)
print(pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            gone = (errno.ENOTCONN, errno.ECONNABORTED)  # the second: asked while it was dying
            assert error_of(os.stat, place / "seq/0") in gone
        finally:
            os.kill(child, signal.SIGKILL)
    with zonefs.mount(disk, place):
        assert os.stat(place / "seq/0").st_size == 0


# ---------------------------------------------------------------- kill -9, and the next start


def test_what_a_killed_process_left_is_cleaned_up(disk, place, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    for where in (place, second):
        child = serving(disk, where)
        child.kill()
        child.wait()
        child.stderr.close()
        assert error_of(os.stat, where) == errno.ENOTCONN
    with zonefs.mount(disk, place):  # both: they are this disk's
        assert mounts.top(str(second)) is None
        assert sorted(os.listdir(place)) == ["cnv", "seq"]
    assert not is_mounted(place)


def test_another_disks_dead_mount_gives_way_too(disk, shm, place):
    from fuse.conftest import make_disk

    child = serving(make_disk(shm, "other.img"), place)
    child.kill()
    child.wait()
    child.stderr.close()
    with zonefs.mount(disk, place):
        assert mounts.top(str(place)).source == disk
    assert not is_mounted(place)


# ---------------------------------------------------------------- the command


def test_the_command_in_the_background(disk, place):
    done = zonedctl("mount", disk, place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.listdir(place)) == ["cnv", "seq"]
    with zoned.open(disk) as device:
        (server,) = [opener.pid for opener in device.openers if opener.pid != os.getpid()]
    assert os.readlink(f"/proc/{server}/cwd") == "/"
    assert os.readlink(f"/proc/{server}/fd/1") == "/dev/null"
    assert os.getsid(server) == server
    run("fusermount3", "-u", place)
    until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server")
    with zoned.open(disk, readonly=True) as device:
        assert device.info().clean


def test_the_command_in_the_background_ends_by_sigterm(disk, place):
    assert zonedctl("mount", "-o", "ro", disk, place).returncode == 0
    with zoned.open(disk) as device:
        (server,) = [opener.pid for opener in device.openers if opener.pid != os.getpid()]
    os.kill(server, signal.SIGTERM)
    until(lambda: not os.path.exists(f"/proc/{server}"), "the end of the server")
    assert not is_mounted(place)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_command_in_the_foreground(disk, place, number):
    child = serving(disk, place, "-o", "strict,errors=repair,perm=600", "-o", "uid=3,gid=4")
    now = os.stat(place / "seq/0")
    assert (now.st_uid, now.st_gid, now.st_mode & 0o777) == (3, 4, 0o600)
    child.send_signal(number)
    said = child.communicate(timeout=PATIENCE)[1]
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert (child.returncode, said) == (0, f"unmounted {place}: {name}\n")
    assert not is_mounted(place)


def test_the_command_is_unmounted_by_another(disk, place):
    child = serving(disk, place)
    run("umount", place)
    said = child.communicate(timeout=PATIENCE)[1]
    assert (child.returncode, said) == (0, f"unmounted {place}: by another process\n")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "mount point .*missing does not exist: make the directory first"),
        (["-f"], "mount point .*missing does not exist: make the directory first"),
    ],
)
def test_the_command_says_itself_what_failed(disk, place, options, text):
    done = zonedctl("mount", *options, disk, place / "missing")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert re.fullmatch(f"zonedctl: the {text}\n", done.stderr)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("stric", "there is no option 'stric'; did you mean 'strict'?"),
        ("errors=panic", "errors=panic: it must be one of remount-ro, zone-ro"),
        ("uid=me", "uid must be a number"),
        ("perm=689", "perm must be an octal number"),
        ("ro=1", "option ro takes no value"),
    ],
)
def test_the_command_refuses_options(disk, place, option, text):
    done = zonedctl("mount", "-o", option, disk, place)
    assert done.returncode == 2
    assert text in done.stderr


# ---------------------------------------------------------------- nothing leaks


def test_cycles_leak_nothing(disk, place, long_run):
    def cycle() -> None:
        with zonefs.mount(disk, place) as mount:
            (place / "seq/0").write_bytes(b"x")
            assert os.path.getsize(place / "seq/0") == BLOCK
            assert mount.mounted

    def used() -> tuple[int, int, int]:
        gc.collect()
        number = sum(entry.path == str(place) for entry in mounts.entries())
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), number

    def memory() -> int:
        with open("/proc/self/smaps_rollup") as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))

    for _ in range(20):
        cycle()
    before, kib = used(), memory()
    for _ in range(1000 if long_run else 50):
        cycle()
    assert used() == before
    # KiB; a leak of one buffer in each cycle would be 50 times that. AddressSanitizer keeps what was
    # freed for a while, up to its quarantine's 256 MiB.
    assert memory() - kib < (300 << 10 if os.environ.get("ZONED_SANITIZED") else 1024)


def test_who_only_looks_is_no_user(disk, place, monkeypatch):
    """Another process's walk over all mounts makes an unmount fail for a moment, and only that."""
    really, refusals = attach._umount, [-errno.EBUSY] * 3
    monkeypatch.setattr(
        attach,
        "_umount",
        lambda path, lazy: refusals.pop() if refusals else really(path, lazy),
    )
    with zonefs.mount(disk, place):
        assert is_mounted(place)
    assert refusals == []
    assert not is_mounted(place)
    monkeypatch.setattr(attach, "_PASSING", 0.01)
    monkeypatch.setattr(attach, "_umount", lambda path, lazy: -errno.EBUSY)
    with pytest.raises(OSError, match="is in use by some process") as caught:
        attach.detach(str(place), lazy=False)
    assert caught.value.errno == errno.EBUSY
