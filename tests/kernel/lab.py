"""A real Linux 6.12 kernel in a virtual machine, to ask what the kernel itself does.

``Kernel`` boots Debian's stock kernel in qemu by software emulation (no KVM, no root needed), with this
machine's root folder under a throw-away overlay: every program and Python installed here runs there too,
as root, and nothing done there touches this machine but for one folder, shared read-write as ``/job``.
The kernel package is downloaded once and only unpacked, never installed. Without pytest:

    python -m tests.kernel.lab [-t SECONDS] [-m MIB] SCRIPT [DIR]

runs a shell script with DIR as ``/job`` and ends with its status. From the environment:

``ZONED_KERNEL_CACHE``  folder for the kernel and the start-up disk (``$XDG_CACHE_HOME/zoned-kernel``)
``ZONED_KERNEL_DEB``    a linux-image .deb to use instead of the one that apt finds
``ZONED_KERNEL_ACCEL``  qemu's accelerator (``tcg,thread=multi``; ``kvm`` where there is one)
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import lzma
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SERIES = "6.12"
# As Debian names the packages of its stable releases and of the security archive; no -dbg, -rt, -cloud.
PACKAGE = re.compile(r"linux-image-6\.12\.\d+(?:\+(?:deb\d+|bpo)[\w.]*)?-amd64")
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
}
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay", "configfs", "fuse")
# Of what iSCSI and NVMe/TCP have check sums by: the kernel loads neither by itself.
CHECKSUMS = ("crc32c_generic", "crc32c_intel")
MODULES = (
    *BOOT_MODULES,
    *("null_blk", "scsi_debug", "sd_mod", "sg", "zonefs", "loop", "dm-zoned", "f2fs", "btrfs"),
    *("ublk_drv", "nvme", "nvme_tcp", "nvmet_tcp"),
    *("iscsi_tcp", *CHECKSUMS, "crc32_generic", "virtio_scsi"),
)
# What is emulated is slow at copying byte by byte, which these two make the kernel do.
CPU = "max,-erms,-fsrm"
BOOT_SECONDS = 600.0
CONSOLE_TAIL = 60

# The first process: modules, the shared root under an overlay, then the agent in it. Every line that it
# reads from the second serial port names a job in /job/.lab; the answer is the name and the exit status.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in {modules}; do modprobe $m; done
mount -t tmpfs -o size=80% tmpfs /upper; mkdir -p /upper/u /upper/w
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose host /lower
mount -t overlay -o lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w overlay /new
for d in proc sys dev; do mkdir -p /new/$d; mount --bind /$d /new/$d; done
mount -t configfs none /new/sys/kernel/config
mkdir -p /new/dev/shm /new/dev/pts /new/run /new/tmp
mount -t devpts devpts /new/dev/pts
for d in dev/shm run tmp; do mount -t tmpfs -o mode=1777 tmpfs /new/$d; done
mkdir -p /new/lib/modules /new/job; cp -a /lib/modules/* /new/lib/modules/
mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=524288,cache=none job /new/job
ip link set lo up
stty -F /dev/ttyS1 raw -echo
cp /agent /new/run/agent
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8
chroot /new /bin/sh /run/agent </dev/ttyS1 >/dev/ttyS1
poweroff -f
"""
AGENT = """\
echo ready
while read -r name; do
  cd /job
  /bin/sh "/job/.lab/$name/run" </dev/null >"/job/.lab/$name/output" 2>&1
  echo "$name $?"
done
"""


class LabError(Exception):
    """The kernel could not be had, did not boot, or did not answer in time. Its text says which and why."""


class UnavailableError(LabError):
    """Something that the lab needs is not on this machine; the text says what, and how to get it."""


@dataclass(frozen=True)
class Result:
    """What a job in the guest left: exit status, and stdout and stderr as they came."""

    status: int
    output: str


@dataclass(frozen=True)
class Image:
    """What qemu boots."""

    version: str
    vmlinuz: Path
    initrd: Path


# ---------------------------------------------------------------- getting a kernel


def cache_folder() -> Path:
    given = os.environ.get("ZONED_KERNEL_CACHE")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "zoned-kernel").absolute()


def missing() -> str | None:
    """One sentence on what the lab lacks here; None when it can try."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"the kernel lab runs on x86-64 Linux only (this is {platform.machine()} {sys.platform})"
    packages = [package for tool, package in TOOLS.items() if not _which(tool)]
    if packages:
        return f"the kernel lab lacks {', '.join(packages)}: sudo apt install {' '.join(packages)}"
    if b"ld-linux" in Path(str(_which("busybox"))).read_bytes()[:8192]:
        return "the kernel lab needs a busybox that is statically linked: sudo apt install busybox-static"
    return None


def prepare() -> Image:
    """Find or fetch the kernel, make its start-up disk, and keep both. Raises UnavailableError."""
    lack = missing()
    if lack:
        raise UnavailableError(lack)
    cache = cache_folder()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            tree = _kernel_tree(cache)
            return _image(cache, tree)
    except OSError as exc:
        raise UnavailableError(f"the kernel lab cannot use its cache {cache}: {exc}") from exc


def _which(tool: str) -> str | None:
    """Also where a plain user's PATH does not look."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _kernel_tree(cache: Path) -> Path:
    """The unpacked package: boot/vmlinuz-V and lib/modules/V."""
    given = os.environ.get("ZONED_KERNEL_DEB")
    if given:
        deb = Path(given).absolute()
        if not deb.is_file():
            raise UnavailableError(f"ZONED_KERNEL_DEB names {deb}, and there is no such file")
        mark = f"{deb} {deb.stat().st_size} {deb.stat().st_mtime_ns}"
        return _unpack(deb, cache / f"deb-{hashlib.sha256(mark.encode()).hexdigest()[:12]}")
    kept = [path for path in cache.glob("linux-image-*") if PACKAGE.fullmatch(path.name)]
    if kept:
        return max(kept, key=lambda path: _numbers(path.name))
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        name = _find_package()
        done = _command(["apt-get", "download", "-q", name], cwd=folder)
        debs = list(Path(folder).glob("*.deb"))
        if done.returncode or len(debs) != 1:
            raise UnavailableError(
                f"apt could not download {name} (a network is needed the first time): {_last(done)}"
            )
        return _unpack(debs[0], cache / name)


def _find_package() -> str:
    if not _which("apt-get"):
        raise UnavailableError(
            f"no apt here to fetch a Linux {SERIES} kernel: download Debian's linux-image-{SERIES}.*-amd64 "
            "package and name it in ZONED_KERNEL_DEB"
        )
    # A list of packages from long ago names kernels that the mirror no longer has; only root can renew it.
    updated = _command(["apt-get", "update", "-q"]) if os.geteuid() == 0 else None
    found = _command(["apt-cache", "search", "--names-only", f"^linux-image-{SERIES}"])
    names = [line.split(" ", 1)[0] for line in found.stdout.splitlines()]
    names = [name for name in names if PACKAGE.fullmatch(name)]
    if names:
        return max(names, key=_numbers)
    failed = updated is not None and updated.returncode != 0
    why = f" (apt-get update: {_last(updated)})" if updated is not None and failed else ""
    raise UnavailableError(
        f"apt knows no linux-image-{SERIES}.*-amd64{why}: a network and Debian's archive are needed the first "
        "time (sudo apt-get update), or name a downloaded package in ZONED_KERNEL_DEB"
    )


def _unpack(deb: Path, to: Path) -> Path:
    if to.is_dir():
        return to
    fresh = to.with_name(to.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    done = _command(["dpkg-deb", "-x", str(deb), str(fresh)])
    if done.returncode:
        raise UnavailableError(f"{deb} could not be unpacked: {_last(done)}")
    fresh.rename(to)
    return to


def _numbers(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name)]


def _command(argv: Sequence[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    program = _which(argv[0]) or argv[0]
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        [program, *argv[1:]], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


# ---------------------------------------------------------------- the start-up disk


def _image(cache: Path, tree: Path) -> Image:
    kernels = sorted((tree / "boot").glob("vmlinuz-*"))
    # Where /lib is a link to /usr/lib, the newer packages say so themselves.
    roots = [tree / "lib" / "modules", tree / "usr" / "lib" / "modules"]
    modules = next((path for root in roots for path in sorted(root.glob("*"))), None)
    if not kernels or modules is None:
        raise UnavailableError(
            f"{tree} holds no kernel and modules: remove it, and it is fetched again"
        )
    busybox = Path(str(_which("busybox")))
    init = INIT.format(modules=" ".join(BOOT_MODULES))
    key = hashlib.sha256(repr((tree.name, MODULES, init, AGENT)).encode())
    key.update(busybox.read_bytes())
    initrd = cache / f"initrd-{key.hexdigest()[:16]}.gz"
    if not initrd.exists():
        fresh = initrd.with_suffix(".new")
        with tempfile.TemporaryDirectory(prefix="zoned-initrd-") as name:
            root = Path(name)
            for folder in ("bin", "proc", "sys", "dev", "new", "lower", "upper"):
                (root / folder).mkdir()
            shutil.copy(busybox, root / "bin" / "busybox")
            (root / "bin" / "busybox").chmod(0o755)
            _copy_modules(modules, root / "lib" / "modules" / modules.name)
            done = _command(["depmod", "-b", str(root), modules.name])
            if done.returncode:
                raise UnavailableError(
                    f"depmod failed on the modules of {tree.name}: {_last(done)}"
                )
            (root / "init").write_text(init)
            (root / "init").chmod(0o755)
            (root / "agent").write_text(AGENT)
            with gzip.open(fresh, "wb", compresslevel=1) as out:
                for piece in _cpio(root):
                    out.write(piece)
        fresh.rename(initrd)
    return Image(modules.name, kernels[-1], initrd)


def _copy_modules(tree: Path, to: Path) -> None:
    """MODULES and all that they depend on, uncompressed; what is built in is left out."""
    files = {_module_name(path): path for path in tree.rglob("*.ko*")}
    wanted = [name.replace("-", "_") for name in MODULES]
    done: set[str] = set()
    while wanted:
        name = wanted.pop()
        path = files.get(name)
        if name in done or path is None:
            continue
        done.add(name)
        code = path.read_bytes()
        if path.suffix == ".xz":
            code = lzma.decompress(code)
        elif path.suffix == ".gz":
            code = gzip.decompress(code)
        elif path.suffix != ".ko":
            raise UnavailableError(
                f"{path.name} is compressed in a way that the kernel lab cannot read"
            )
        target = to / path.relative_to(tree).with_name(path.name.split(".ko")[0] + ".ko")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(code)
        for found in re.findall(rb"\0depends=([^\0]*)\0", code) + re.findall(
            rb"\0softdep=pre: ([^\0]*)\0", code
        ):
            wanted += re.split(r"[,\s]+", found.decode().replace("-", "_"))
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (tree / name).exists():
            shutil.copy(tree / name, to / name)


def _module_name(path: Path) -> str:
    return path.name.split(".ko")[0].replace("-", "_")


def _cpio(root: Path) -> Iterator[bytes]:
    """A folder as the "newc" archive that the kernel unpacks."""
    paths = sorted(root.rglob("*"))
    for number, path in enumerate([*paths, None], 1):
        info = path.lstat() if path else None
        name = str(path.relative_to(root)) if path else "TRAILER!!!"
        mode = info.st_mode if info else 0
        data = path.read_bytes() if path and stat.S_ISREG(mode) else b""
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        yield head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


# ---------------------------------------------------------------- the running kernel


class Kernel:
    """A booted kernel. Jobs run in it one after the other; use it as a context manager, or close().

    ``share`` is the folder that the guest sees as /job. A job that passes its time limit, or a kernel
    that dies, raises LabError with the console's last lines; after that ``alive`` is False.
    """

    def __init__(
        self, share: Path, *, memory: int = 2048, cpus: int = 2, devices: Sequence[str] = ()
    ) -> None:
        """``devices``: further arguments for qemu."""
        image = prepare()
        self.version = image.version
        self.share = share.resolve()
        self._count = 0
        self._line = b""
        self._private = Path(tempfile.mkdtemp(prefix="zoned-lab-"))
        (self.share / ".lab").mkdir(parents=True, exist_ok=True)
        self._bell, theirs = socket.socketpair()
        try:
            self._qemu = self._start(image, theirs, memory, cpus, devices)
        except BaseException:
            self._bell.close()
            shutil.rmtree(self._private, ignore_errors=True)
            raise
        finally:
            theirs.close()
        try:
            if self._answer(time.monotonic() + BOOT_SECONDS, "boot", None) != "ready":
                raise LabError(f"the guest did not come up as expected{self._console()}")
        except BaseException:
            self.close()
            raise

    def _start(
        self,
        image: Image,
        bell: socket.socket,
        memory: int,
        cpus: int,
        devices: Sequence[str],
    ) -> subprocess.Popen[bytes]:
        accel = os.environ.get("ZONED_KERNEL_ACCEL") or "tcg,thread=multi"
        # An emulator on a busy machine ticks too late for the kernel's look at its timer, which is a panic.
        options = "console=ttyS0 quiet loglevel=4 panic=-1 no_timer_check"
        # The guest should not outlive this process, whatever ends it.
        setpriv = _which("setpriv")
        argv = [
            *((setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()),
            *(str(_which("qemu-system-x86_64")), "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-accel", accel, "-cpu", CPU, "-m", str(memory), "-smp", str(cpus)),
            *("-display", "none", "-kernel", str(image.vmlinuz), "-initrd", str(image.initrd)),
            *("-append", options),
            *("-chardev", f"file,id=console,path={self._private / 'console'}"),
            *("-serial", "chardev:console"),
            *("-chardev", f"socket,id=bell,fd={bell.fileno()}", "-serial", "chardev:bell"),
            *("-virtfs", _virtfs("/", "host", "readonly=on")),
            *("-virtfs", _virtfs(str(self.share), "job", "readonly=off")),
            *devices,
        ]
        with open(self._private / "qemu", "wb") as log:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[bell.fileno()],
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._qemu.poll() is None and self._bell.fileno() >= 0

    def run(
        self,
        command: str | Sequence[str],
        *,
        timeout: float = 300.0,
        watch: Callable[[str], None] | None = None,
    ) -> Result:
        """Run a shell script (text) or a command (words) as root, in /job, to its end.

        ``watch`` gets the output as it comes. Raises LabError when ``timeout`` seconds pass, or when the
        kernel dies.
        """
        if not self.alive:
            raise LabError("the kernel of this lab has ended")
        self._count += 1
        name = f"{self._count}"
        folder = self.share / ".lab" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        text = command if isinstance(command, str) else shlex.join(command)
        # A script may name the shell that it is for.
        first = text.split("\n", 1)[0]
        if first.startswith("#!"):
            (folder / "script").write_text(text)
            text = f"exec {first[2:]} /job/.lab/{name}/script"
        (folder / "run").write_text(text + "\n")
        tail = _Tail(folder / "output", watch) if watch else None
        self._bell.sendall(f"{name}\n".encode())
        try:
            answer = self._answer(time.monotonic() + timeout, "answer", tail)
        except LabError as exc:
            self.close()
            said = _read(folder / "output")
            raise LabError(f"{exc}\nthe job had said:\n{_end(said, CONSOLE_TAIL)}") from None
        if tail:
            tail.look()
        match = re.fullmatch(rf"{name} (\d+)", answer)
        if not match:
            raise LabError(f"the guest answered {answer!r} to job {name}")
        output = _read(folder / "output")
        shutil.rmtree(folder, ignore_errors=True)
        return Result(int(match[1]), output)

    def close(self) -> None:
        """End the guest; what it changed outside /job is gone."""
        self._bell.close()
        if self._qemu.poll() is None:
            # The throw-away overlay needs no orderly end.
            os.kill(self._qemu.pid, signal.SIGKILL)
        self._qemu.wait()
        shutil.rmtree(self._private, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
        shutil.rmtree(self.share / ".lab", ignore_errors=True)

    def _answer(self, deadline: float, what: str, tail: _Tail | None) -> str:
        """The next line from the guest."""
        while b"\n" not in self._line:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LabError(f"the kernel did not {what} in time{self._console()}")
            self._bell.settimeout(min(left, 0.25))
            try:
                got = self._bell.recv(4096)
            except TimeoutError:
                if tail:
                    tail.look()
                if self._qemu.poll() is None:
                    continue
                got = b""
            if not got:
                raise LabError(f"the kernel ended and did not {what}{self._console()}")
            self._line += got
        line, self._line = self._line.split(b"\n", 1)
        return line.decode(errors="replace").strip()

    def _console(self) -> str:
        said = _read(self._private / "qemu") + _read(self._private / "console")
        said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|\r", "", said)
        return f"; its console's last lines:\n{_end(said, CONSOLE_TAIL)}" if said.strip() else ""


class _Tail:
    """Hands on what is new in a growing file."""

    def __init__(self, path: Path, to: Callable[[str], None]) -> None:
        self._path = path
        self._to = to
        self._at = 0

    def look(self) -> None:
        if not self._path.exists():
            return
        with open(self._path, "rb") as file:
            file.seek(self._at)
            new = file.read()
        self._at += len(new)
        if new:
            self._to(new.decode(errors="replace"))


def _virtfs(path: str, tag: str, mode: str) -> str:
    escaped = path.replace(",", ",,")
    return f"local,path={escaped},mount_tag={tag},security_model=none,{mode},multidevs=remap"


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""


def _end(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])


def assignments(**values: str) -> str:
    """Lines of a shell script that set variables."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def python() -> str:
    """The Python that the guest can run: this one, without its virtual environment (which may lie in
    /tmp, and the guest has a /tmp of its own).
    """
    return str(getattr(sys, "_base_executable", None) or sys.executable)


@contextmanager
def _share(given: str | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="zoned-job-") as folder:
        yield Path(folder)


def main(argv: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kernel.lab",
        description=f"Run a shell script as root under a real Linux {SERIES} kernel.",
    )
    parser.add_argument("-t", "--time", type=float, default=300, help="limit in seconds (300)")
    parser.add_argument(
        "-m", "--memory", type=int, default=2048, help="of the guest, in MiB (2048)"
    )
    parser.add_argument("script", help="shell script; - reads it from standard input")
    parser.add_argument("folder", nargs="?", help="shared as /job (a fresh one, if not given)")
    args = parser.parse_args(None if argv is None else list(argv))
    try:
        text = sys.stdin.read() if args.script == "-" else Path(args.script).read_text()
    except OSError as exc:
        parser.error(str(exc))
    if args.folder is not None and not Path(args.folder).is_dir():
        parser.error(f"{args.folder} is no folder")

    def show(new: str) -> None:
        sys.stdout.write(new)
        sys.stdout.flush()

    try:
        with _share(args.folder) as share, Kernel(share, memory=args.memory) as kernel:
            return kernel.run(text, timeout=args.time, watch=show).status
    except LabError as exc:
        sys.stderr.write(f"kernel lab: {exc}\n")
        return 124


if __name__ == "__main__":
    sys.exit(main())
