"""NVMe ioctls on disks of dialect zns: what Linux 6.12 gives on QEMU's drive, what nvme-cli makes of it, and one controller for
all programs of a run.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import zoned
from run.programs import Needs, found, made, ok, shell, started
from run.test_users import NOBODY, as_nobody
from waiting import PATIENCE, until
from zoned import ZoneCondition
from zoned.running import Session

HERE = Path(__file__).parent
ZONE, BLOCK = 4 << 20, 4096
BLOCKS = ZONE // BLOCK
"""Of a zone: its addresses in hexadecimal are multiples of 400."""


def namespace(path: Path, **keywords: object) -> Path:
    """A disk of 16 zones of 1,024 blocks, none of them conventional."""
    return made(path, **({"dialect": "zns", "conventional": 0, "max_active": 6} | keywords))


@pytest.fixture
def image(shm: Path) -> Path:
    return namespace(shm / "disk.img")


def test_ioctls_give_what_the_kernel_gives(image: Path) -> None:
    given = ok(
        [sys.executable, str(HERE / "nvmecalls.py"), "/dev/zoned0", "/dev/zng0"], images=[image]
    )
    expected = (HERE / "data/nvme-calls.txt").read_text(encoding="utf-8")
    assert expected.count("\n") > 200
    assert given.splitlines() == expected.splitlines()


# ---------------------------------------------------------------- nvme-cli


def conditions(image: Path) -> list[ZoneCondition]:
    with zoned.open(image, readonly=True) as device:
        return [zone.condition for zone in device.zones]


def test_reports_and_zone_commands_of_nvme_cli(image: Path, needs: Needs) -> None:
    found(needs, "nvme")
    script = """nvme zns open-zone /dev/zoned0 -s 0x400; nvme zns zone-mgmt-send /dev/zoned0 -s 0x800 -z 3
        nvme zns close-zone /dev/zoned0 -s 0x800; nvme zns finish-zone /dev/zoned0 -s 0xc00
        nvme zns report-zones /dev/zoned0"""
    told = shell(script, image).splitlines()
    rows = [line.split() for line in told if line.startswith("SLBA")]
    assert "nr_zones: 16" in told
    assert len(rows) == 16
    assert [row[row.index("State:") + 1] for row in rows[:5]] == [
        "0x10",
        "0x30",
        "0x40",
        "0xe0",
        "0x10",
    ]
    assert rows[1][:6] == ["SLBA:", "0x400", "WP:", "0x400", "Cap:", "0x400"]
    assert conditions(image)[:5] == [
        ZoneCondition.EMPTY,
        ZoneCondition.EXPLICIT_OPEN,
        ZoneCondition.CLOSED,
        ZoneCondition.FULL,
        ZoneCondition.EMPTY,
    ]
    told = shell(
        "nvme zns report-zones /dev/zoned0 -S 5 -d 2; nvme zns reset-zone /dev/zoned0 -a", image
    )
    assert "SLBA: 0xc00" in told
    assert set(conditions(image)) == {ZoneCondition.EMPTY}


def test_what_nvme_cli_identifies(image: Path, needs: Needs) -> None:
    found(needs, "nvme")
    with zoned.open(image) as device:
        uuid = device.uuid
    script = """nvme id-ctrl /dev/zoned0; nvme id-ns /dev/zoned0; nvme zns id-ctrl /dev/zng0; nvme zns id-ns /dev/zoned0
        nvme ns-descs /dev/zoned0; nvme list-ns /dev/zng0; nvme get-ns-id /dev/zoned0"""
    told = {" ".join(line.split()) for line in shell(script, image).splitlines()}
    assert {
        "mn : ZONED ZNS DRIVE",
        f"sn : {uuid.hex[:20]}",
        "nsze : 0x4000",
        "ncap : 0x4000",
        "mar : 0x5",
        "mor : 0x3",
        f"uuid : {uuid}",
        "csi : 0x2",
        "[ 0]:0x1",
        "zoned0: namespace-id:1",
    } <= told
    assert any(line.startswith("lbaf 0") and "lbads:12" in line for line in told)
    assert any(line.startswith("lbafe 0") and "zsze:0x400" in line for line in told)


def writing(shm: Path, verb: str, block: str, *more: str) -> list[str]:
    """nvme-cli's command that writes a block of zeros."""
    (shm / "data").write_bytes(bytes(BLOCK))
    where = ["/dev/zoned0", "-s", block, *more]
    return ["nvme", *verb.split(), *where, "-z", str(BLOCK), "-d", f"{shm}/data"]


def test_data_through_nvme_cli(image: Path, shm: Path, needs: Needs) -> None:
    found(needs, "nvme", "cmp")
    data = os.urandom(2 * BLOCK)
    (shm / "data").write_bytes(data)
    whole = f"-z {2 * BLOCK} -d {shm}/data"
    script = f"""nvme write /dev/zoned0 -s 0 -c 1 {whole}; nvme zns zone-append /dev/zoned0 -s 0x400 {whole}
        nvme zns zone-append /dev/zoned0 -s 0x400 {whole}
        nvme compare /dev/zoned0 -s 0x402 -c 1 {whole}; nvme read /dev/zoned0 -s 0 -c 1 -z {2 * BLOCK} -d {shm}/got
        cmp {shm}/data {shm}/got; nvme verify /dev/zoned0 -s 0 -c 1; nvme write-zeroes /dev/zoned0 -s 2 -c 3
        nvme dsm /dev/zoned0 -s 0 -b 1 -d; nvme flush /dev/zoned0"""
    told = shell(script, image)
    assert "Success appended data to LBA 400\n" in told
    assert "Success appended data to LBA 402\n" in told
    with zoned.open(image) as device:
        assert device.pread(6 * BLOCK, 0) == data + bytes(4 * BLOCK)
        assert device.pread(4 * BLOCK, ZONE) == 2 * data
        assert device.zones[0].wp == 6 * BLOCK


def test_refused_commands_are_told_as_statuses_and_sentences(
    image: Path, shm: Path, needs: Needs
) -> None:
    found(needs, "nvme")
    write = writing(shm, "write", "7", "-c", "0")
    done = started(write, "--report", images=[image])
    assert done.returncode == 1
    assert "Zone Invalid Write" in done.stderr
    assert "write at 28672 in zone 0 is not at its write pointer 0" in done.stderr
    many = "for z in 0 0x400 0x800 0xc00 0x1000; do nvme zns open-zone /dev/zoned0 -s $z; done"
    done = started(["sh", "-c", many], images=[image])
    assert done.returncode == 1
    assert "Too Many Open Zones" in done.stderr
    append = writing(shm, "zns zone-append", "1")
    assert "Invalid Field in Command" in started(append, images=[image]).stderr
    done = started(
        ["nvme", "read", "/dev/zoned0", "-s", "0x4000", "-c", "0", "-z", "4096"], images=[image]
    )
    assert "LBA Out of Range" in done.stderr


def test_one_controller_for_all_programs_of_a_run(image: Path, shm: Path, needs: Needs) -> None:
    """What one process sets or breaks the next one reads; a reset, and the run's end, make it as at first."""
    found(needs, "nvme")
    (shm / "data").write_bytes(bytes(BLOCK))
    wrong = f"nvme write /dev/zoned0 -s 7 -c 0 -z 4096 -d {shm}/data"
    feature = "nvme get-feature /dev/zoned0 -f 4"
    script = f"""{feature}; nvme set-feature /dev/zoned0 -f 4 -v 300; {feature}
        ! {wrong}; ! {wrong}; nvme error-log /dev/zoned0 -e 4; nvme smart-log /dev/zoned0
        nvme reset /dev/zng0; {feature}; nvme error-log /dev/zoned0 -e 1; nvme ns-rescan /dev/zng0"""
    told = [" ".join(line.split()) for line in shell(script, image).splitlines()]
    values = [line.rsplit(":", 1)[1] for line in told if "Current value" in line]
    assert values == ["0x00000157", "0x0000012c", "0x00000157"]
    counts = [line for line in told if line.startswith("error_count")]
    assert counts == [f"error_count : {count}" for count in (2, 1, 0, 0, 0)]
    assert told.count("lba : 0x7") == 2
    assert (
        sum("Zone Invalid Write" in line for line in told if line.startswith("status_field")) == 2
    )
    assert "num_err_log_entries : 2" in told
    assert "0x00000157" in shell(feature, image)


def test_zones_that_changed_are_listed(image: Path, needs: Needs) -> None:
    """Whoever finds it: that a zone died is news from the run's beginning on, and is told once."""
    found(needs, "nvme", "dd")
    with zoned.open(image) as device, device.faults.add("offline", on="read", zones=3):
        script = f"""dd if=/dev/zoned0 of=/dev/null bs=4k count=1 skip={3 * BLOCKS} iflag=direct || true
            nvme smart-log /dev/zoned0 | head -2; nvme zns changed-zone-list /dev/zoned0 -r
            nvme zns changed-zone-list /dev/zoned0; nvme zns changed-zone-list /dev/zoned0"""
        told = [" ".join(line.split()) for line in shell(script, image).splitlines()]
    assert [line for line in told if line.startswith("nrzid")] == [
        "nrzid: 1",
        "nrzid: 1",
        "nrzid: 0",
    ]
    assert told.count(f"zid 000: {3 * BLOCKS}") == 2, told
    assert "critical_warning : 0x4" in told
    assert "nrzid: 0" in shell("nvme zns changed-zone-list /dev/zoned0 | sed 's/ \\+/ /g'", image)


def test_conventional_zones_are_a_second_namespace(shm: Path, needs: Needs) -> None:
    """It has the disk's front, and its commands go by the controller; /dev/zoned0 is the zoned one for NVMe commands."""
    found(needs, "nvme")
    image = namespace(shm / "disk.img", conventional=2)
    data = os.urandom(BLOCK)
    (shm / "data").write_bytes(data)
    whole = f"-c 0 -z {BLOCK} -d {shm}/data"
    script = f"""nvme list-ns /dev/zng0; nvme id-ns /dev/zng0 -n 2 | grep nsze
        nvme write /dev/zng0 -n 2 -s 5 {whole}; nvme write /dev/zoned0 -s 0 {whole}; nvme write /dev/zng0 -n 1 -s 1 {whole}
        ! nvme write /dev/zoned0 -n 2 -s 6 {whole}; ! nvme write /dev/zng0 -n 3 -s 6 {whole}"""
    done = started(["sh", "-ec", script], images=[image])
    assert done.returncode == 0, done
    assert [" ".join(line.split()) for line in done.stdout.splitlines()][:3] == [
        "[ 0]:0x1",
        "[ 1]:0x2",
        "nsze : 0x800",
    ]
    assert done.stderr.count("Invalid argument") == 2
    with zoned.open(image) as device:
        assert device.pread(BLOCK, 5 * BLOCK) == data
        assert device.pread(2 * BLOCK, 2 * ZONE) == 2 * data
        assert device.pread(BLOCK, 6 * BLOCK) == bytes(BLOCK)


def test_an_ordinary_user(image: Path, shm: Path, needs: Needs) -> None:
    """Who may write the image is the disk's administrator; for whom it is read-only, the namespace is."""
    found(needs, "nvme")
    needs("root", os.geteuid() == 0, "being another user")
    shm.chmod(0o755)
    append = writing(shm, "zns zone-append", "0")
    reads = [["nvme", "zns", "report-zones", "/dev/zoned0"], ["nvme", "smart-log", "/dev/zoned0"]]
    environment = os.environ["PATH"]
    os.environ["PATH"] = f"{environment}:/usr/sbin:/sbin"
    try:
        os.chown(image, NOBODY, NOBODY)
        assert [status for status, _ in as_nobody(image, append, *reads)] == [0, 0, 0]
        os.chown(image, 0, 0)
        image.chmod(0o644)
        done = as_nobody(image, append, *reads)
    finally:
        os.environ["PATH"] = environment
    assert [status for status, _ in done] == [1, 0, 0]
    assert "Namespace is Write Protected" in done[0][1] or "write protected" in done[0][1].lower()
    with zoned.open(image) as device:
        assert device.zones[0].wp == BLOCK


# ---------------------------------------------------------------- commands that take their time


EVENTS, EVENT_REQUEST, SET_FEATURES, THRESHOLD = "0x0b", "0x0c", "0x09", "0x04"


@pytest.fixture
def session(image: Path) -> Iterator[Session]:
    with Session({"zoned0": image}) as opened:
        yield opened


def begun(session: Session, *words: object) -> subprocess.Popen[str]:
    """nvmewait.py with these arguments, at its command."""
    command = [sys.executable, str(HERE / "nvmewait.py"), *map(str, words)]
    running = subprocess.Popen(
        command, env=session.environment(), stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "begins\n"
    return running


def ends(running: subprocess.Popen[str]) -> list[str]:
    """What it said: an errno or a status, the result, and the seconds it took."""
    assert running.stdout is not None
    running.wait(PATIENCE)
    with running.stdout as said:
        return said.read().split()


def test_a_command_that_is_held_up_is_aborted_when_its_time_is_over(session: Session) -> None:
    device = session.devices["zoned0"]
    with device.faults.add("hang", on="read", zones=1):
        status, _, seconds = ends(begun(session, "/dev/zoned0", "io", "0x02", 300, BLOCKS))
        assert (status, float(seconds) >= 0.3) == ("0x7", True)
        status, _, _ = ends(begun(session, "/dev/zng0", "io", "0x02", 50, BLOCKS))
        assert status == "0x7"
        other = begun(session, "/dev/zoned0", "io", "0x02", 0, 2 * BLOCKS)
        assert ends(other)[0] == "0x0"


def test_a_command_that_is_held_up_goes_on_when_it_is_let_go(session: Session) -> None:
    device = session.devices["zoned0"]
    with device.faults.add("hang", on="read", zones=1) as fault:
        running = begun(session, "/dev/zoned0", "io", "0x02", 0, BLOCKS)
        until(lambda: fault.waiting == 1, "the command hangs")
        assert ends(begun(session, "/dev/zoned0", "admin", "0x06", 0, 1))[0] == "0x0", (
            "nobody else waits for it"
        )
    assert ends(running)[0] == "0x0"


def test_a_program_is_killed_whose_command_is_held_up(session: Session) -> None:
    device = session.devices["zoned0"]
    with device.faults.add("hang", on="write", zones=1) as fault:
        for count, number in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
            running = begun(session, "/dev/zoned0", "io", "0x01", 0, BLOCKS)
            until(lambda count=count: fault.waiting == count, "the command hangs")
            running.send_signal(number)
            assert running.wait(PATIENCE) == -number
            assert running.stdout is not None
            running.stdout.close()
    assert ends(begun(session, "/dev/zoned0", "io", "0x01", 0, BLOCKS))[0] == "0x0"
    assert device.zones[1].wp == ZONE + BLOCK
    assert not session.refused()


def test_a_program_is_killed_while_all_others_wait_for_it(session: Session) -> None:
    """FORMAT is an admin command, and flushes: who is killed in the midst of it leaves the controller to the others."""
    with session.devices["zoned0"].faults.add("hang", on="flush") as fault:
        running = begun(session, "/dev/zng0", "admin", "0x80", 0)
        until(lambda: fault.waiting == 1, "the command hangs")
        running.kill()
        assert ends(running) == []
    assert ends(begun(session, "/dev/zoned0", "admin", "0x06", 0, 1))[0] == "0x0"


def test_a_reset_ends_what_is_held_up_in_any_program(session: Session) -> None:
    device = session.devices["zoned0"]
    with device.faults.add("hang", on="read", zones=1) as fault:
        commands = [begun(session, "/dev/zoned0", "io", "0x02", 0, BLOCKS) for _ in range(2)]
        commands.append(begun(session, "/dev/zng0", "admin", EVENT_REQUEST, 0))
        until(lambda: fault.waiting == 2, "the commands hang")
        script = "import fcntl, os, sys; fcntl.ioctl(os.open('/dev/zng0', os.O_RDONLY), 0x4E44)"
        subprocess.run([sys.executable, "-c", script], env=session.environment(), check=True)
        assert [ends(command)[0] for command in commands] == ["EINTR"] * 3


def test_an_event_ends_a_request_that_waits_for_it(session: Session) -> None:
    """The disk's own failure, found by whichever program; then the request of another one has nothing to tell."""
    device = session.devices["zoned0"]
    assert ends(begun(session, "/dev/zng0", "admin", SET_FEATURES, 0, EVENTS, 1 << 27))[0] == "0x0"
    waiting = begun(session, "/dev/zng0", "admin", EVENT_REQUEST, 0)
    assert ends(begun(session, "/dev/zoned0", "admin", "0x06", 0, 1))[0] == "0x0"
    assert waiting.poll() is None
    device.set_condition(3, "offline")
    status, result, _ = ends(waiting)
    assert (status, result) == ("0x0", "0xbfef02"), (
        "a notice: zone descriptor changed, log page BFh"
    )


def test_an_event_request_is_not_for_ever(session: Session) -> None:
    """As on Linux, where the controller is reset that did not answer."""
    assert ends(begun(session, "/dev/zng0", "admin", SET_FEATURES, 0, THRESHOLD, 300))[0] == "0x0"
    status, _, seconds = ends(begun(session, "/dev/zng0", "admin", EVENT_REQUEST, 200))
    assert (status, float(seconds) >= 0.2) == ("EINTR", True)
    assert ends(begun(session, "/dev/zng0", "admin", "0x0a", 0, THRESHOLD))[:2] == ["0x0", "0x157"]


# ---------------------------------------------------------------- who sends them


IDENTIFIES = """import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for node in sys.argv[1:]:
    for request in (0x4E40, 0xC0484E41, 0x40304E42, 0xC0484E43, 0x4E44, 0x4E46, 0xC0504E47, 0xC0504E48, 0xC0504E49):
        assert libc.ioctl(os.open(node, os.O_RDWR), ctypes.c_ulong(request), ctypes.create_string_buffer(80)) == -1
        print(errno.errorcode[ctypes.get_errno()])"""


def test_other_disks_answer_no_nvme_ioctl(shm: Path) -> None:
    image = made(shm / "disk.img")
    told = ok([sys.executable, "-c", IDENTIFIES, "/dev/zoned0"], images=[image]).split()
    assert told == ["ENOTTY"] * 9
    told = ok([sys.executable, "-c", IDENTIFIES, "/dev/zsg0"], images=[image]).split()
    assert told == ["EINVAL"] * 9, "sg's own answer"
    script = (
        f"{sys.executable} -c '{IDENTIFIES}' /dev/zoned0; test ! -e /dev/zng0; test ! -e /dev/zsg0"
    )
    told = shell(script, made(shm / "null.img", dialect="nullblk")).split()
    assert told == ["ENOTTY"] * 9


def test_a_disk_that_nvme_cannot_tell_of_says_so(shm: Path, needs: Needs) -> None:
    found(needs, "nvme")
    image = namespace(shm / "disk.img", size="61MiB")
    done = started(["nvme", "id-ctrl", "/dev/zoned0"], images=[image])
    assert done.returncode != 0
    assert "/dev/zng0 has no NVMe side" in done.stderr
    assert (
        "the last one is smaller: create the disk with a size that is a multiple of" in done.stderr
    )


def test_zones_of_a_size_that_linux_does_not_take(shm: Path, needs: Needs) -> None:
    """There is no block device of them, as on Linux; the controller has their namespace."""
    found(needs, "nvme")
    image = namespace(shm / "disk.img", size="48MiB", zone_size="3MiB")
    told = shell("test ! -e /dev/zoned0; nvme zns report-zones /dev/zng0 -n 1 -d 1", image)
    assert "nr_zones: 16" in told


def test_the_controller_in_sysfs(image: Path) -> None:
    script = """cat /sys/block/zoned0/device/model /sys/class/nvme/zng0/state /sys/block/zoned0/nsid
        cat /sys/block/zoned0/queue/max_hw_sectors_kb /sys/block/zoned0/wwid; ls /sys/class/nvme/zng0/ | grep zoned
        stat -c '%F %t:%T' /dev/zng0 -L; cat /sys/class/nvme/zng0/dev; cat /sys/dev/char/$(cat /sys/class/nvme/zng0/dev)/model"""
    told = [line.strip() for line in shell(script, image).splitlines()]
    with zoned.open(image) as device:
        uuid = device.uuid
    major, minor = (int(part) for part in told[7].split(":"))
    assert told[:7] == [
        "ZONED ZNS DRIVE",
        "live",
        "1",
        "8192",
        f"uuid.{uuid}",
        "zoned0",
        f"character special file {major:x}:{minor:x}",
    ]
    assert told[8:] == ["ZONED ZNS DRIVE"]


CHILD = """import os, sys
sys.argv[1:] = ['/dev/zoned0', 'admin', '0x06', '0', '1']
program = open(f'{os.environ["HERE"]}/nvmewait.py').read()
exec(program)
sys.stdout.flush()
child = os.fork()
ended = os.waitpid(child, 0)[1] if child else 0
exec(program)
sys.stdout.flush()
if child == 0: os._exit(0)
print(ended)"""


def test_a_child_sends_commands_as_its_parent_did(image: Path) -> None:
    told = ok(["env", f"HERE={HERE}", sys.executable, "-c", CHILD], images=[image]).splitlines()
    assert told[-1] == "0", told
    assert sum(line.startswith("0x0 ") for line in told) == 3, told


THREADS = """import ctypes, os, struct, sys, threading
libc, node = ctypes.CDLL(None), os.open('/dev/zoned0', os.O_RDONLY)
landed, wrong = [], []
def appends(number):
    data = ctypes.create_string_buffer(bytes([number]) * 4096, 4096)
    for _ in range(50):
        command = ctypes.create_string_buffer(struct.pack('<BBHI8xQQII', 0x7D, 0, 0, 1, 0, ctypes.addressof(data), 0, 4096)
            + struct.pack('<6IIIQ', 1024, 0, 0, 0, 0, 0, 0, 0, 0), 80)
        if libc.ioctl(node, ctypes.c_ulong(0xC0504E48), command): wrong.append(number)
        landed.append((struct.unpack_from('<Q', command.raw, 72)[0], number))
threads = [threading.Thread(target=appends, args=(n,)) for n in range(1, 5)]
[t.start() for t in threads]; [t.join() for t in threads]
disk = os.open('/dev/zoned0', os.O_RDONLY)
print(len(wrong), sorted(at for at, _ in landed) == list(range(1024, 1224)),
    all(os.pread(disk, 1, at * 4096)[0] == n for at, n in landed))"""


def test_threads_append_at_once(image: Path) -> None:
    assert ok([sys.executable, "-c", THREADS], images=[image]).split() == ["0", "True", "True"]


@pytest.mark.program
def test_a_static_program(image: Path, shm: Path, needs: Needs) -> None:
    """Its memory is another process's: buffers, vectors and results go there and back."""
    needs("x86-64", platform.machine() == "x86_64", "answers for programs without libc")
    needs("cc", shutil.which("gcc") is not None, "compiling a program")
    source = HERE.parent / "native/rawnvme.c"
    program = shm / "rawnvme"
    subprocess.run(
        ["gcc", "-O2", "-static", "-D_GNU_SOURCE", "-o", str(program), str(source)], check=True
    )
    assert ok([str(program), "/dev/zoned0", "/dev/zng0"], images=[image]).splitlines() == [
        "namespace 1",
        "identify 0 ZONED ZNS DRIVE",
        "append 0 at 400",
        "read in pieces 0 same",
        "write not at the pointer 61bc",
        "from nowhere -14",
        "reset 0",
    ]
