"""The differences between the kernel's zonefs and ours that have to be, as data.

Each entry tolerates one thing exactly: at which door, after which step, what the kernel answers and what we
answer; whatever else is seen (zones, files, free blocks, counters) must agree, unless the entry ends the
comparison. docs/differences.md is written from this list, and a test fails when an entry no longer shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from kernel.finding import Finding
from kernel.scenario import Disk, Record, Scenario, Step

MOUNT, PROCESS = "mount", "process"
STATE = ("zones", "files", "free", "ro", "counters")
WRITES = ("write", "pwrite", "writev", "rwf", "aio")
READS = ("read", "pread", "readv")
REQUEST = 1 << 20
"""Bytes of the longest request that FUSE sends."""
NEW = ("mkdir", "mknod", "rename", "link", "symlink")


@dataclass(frozen=True)
class Past:
    """What a scenario has done before a step."""

    disk: Disk
    step: Step | None
    """None: the fresh disk and its mount."""
    before: Record | None
    flags: str
    """With which the step's file was opened."""
    path: str
    """Of the step's file, or that the step names."""
    bad: bool
    """There are bad blocks."""
    sought: int | None
    """Where lseek last put the step's descriptor."""

    @property
    def do(self) -> str:
        return self.step.do if self.step else ""

    def argument(self, name: str, default: object = None) -> object:
        return self.step.arguments.get(name, default) if self.step else default

    @property
    def length(self) -> int:
        """Of a read or write."""
        pieces = self.argument("lengths")
        if isinstance(pieces, list):
            return sum(pieces)
        length = self.argument("length", -1)
        assert isinstance(length, int)
        return length

    @property
    def direct(self) -> bool:
        return "O_DIRECT" in self.flags


def past(scenario: Scenario, at: int, before: Record | None) -> Past:
    step = scenario.steps[at - 1] if at else None
    bad, flags, path = False, "", ""
    sought: int | None = None
    fd = step.arguments.get("fd") if step else None
    for earlier in scenario.steps[: max(at - 1, 0)]:
        if earlier.do == "bad":
            bad = earlier.arguments["length"] > 0
        elif earlier.do == "open" and earlier.arguments["fd"] == fd:
            flags, path = earlier.arguments["flags"], earlier.arguments["path"]
            sought = None
        elif earlier.do == "lseek" and earlier.arguments["fd"] == fd:
            sought = earlier.arguments["offset"]
    if step is not None:
        path = step.arguments.get("path", path)
    return Past(scenario.disk, step, before, flags, path, bad, sought)


@dataclass(frozen=True)
class ZonefsDifference:
    name: str
    doors: tuple[str, ...]
    title: str
    """For the page: what one sees."""
    cause: str
    shows: Callable[[Past, Record, Record], bool]
    """Given the past, our record and the kernel's, which differ: whether this is why."""
    ends: bool = False
    """The two are no longer in the same state after it: nothing that follows is compared."""

    def explains(self, finding: Finding) -> bool:
        """Whether the two records differ in this way, and in no other."""
        seen = past(finding.scenario, finding.at, finding.before)
        ours, theirs = finding.ours, finding.theirs
        if finding.door not in self.doors or not self.shows(seen, ours, theirs):
            return False
        return self.ends or all(ours.get(name) == theirs.get(name) for name in STATE)


KNOWN: list[ZonefsDifference] = []
"""In the order of the page."""
Shows = Callable[[Past, Record, Record], bool]


def known(name: str, *doors: str, ends: bool = False) -> Callable[[Shows], Shows]:
    """The function says whether a difference shows; its docstring has the title and, below it, the cause."""

    def add(shows: Shows) -> Shows:
        title, _, cause = inspect.getdoc(shows).partition("\n\n")
        KNOWN.append(ZonefsDifference(name, doors, title, cause.replace("\n", " "), shows, ends))
        return shows

    return add


@known("statfs-type", MOUNT)
def _statfs(seen: Past, ours: Record, theirs: Record) -> bool:
    """statfs: f_type is FUSE's (65735546h), f_fsid is 0

    Linux fills in both for a FUSE file system; the server is not asked. All counts agree.
    """
    return (
        seen.do == "statfs"
        and ours["statfs"] == theirs["statfs"]
        and theirs["type"] == "0x5a4f4653"
        and (ours["type"], ours["fsid"]) == ("0x65735546", "0x0")
    )


@known("nothing-to-transfer", MOUNT)
def _no_bytes(seen: Past, ours: Record, theirs: Record) -> bool:
    """a read or write of no bytes returns 0 where zonefs has an error

    zonefs checks before it looks at the length: EIO for a buffered write to a sequential file, EFBIG at the
    capacity, EINVAL for a direct read that is not aligned. FUSE does not ask the server about no bytes.
    """
    return (
        seen.do in (*WRITES, *READS)
        and seen.length == 0
        and ours["result"] == 0
        and theirs.get("error") in ("EIO", "EFBIG", "EINVAL", "EPERM", "EROFS")
    )


@known("lseek-past-the-end", MOUNT)
def _beyond_the_end(seen: Past, ours: Record, theirs: Record) -> bool:
    """lseek past the end is not refused

    zonefs says EINVAL. FUSE asks the server about SEEK_DATA and SEEK_HOLE only; reads and writes there end as
    zonefs's do (0 bytes; EINVAL or EFBIG).
    """
    return (
        seen.do == "lseek"
        and seen.argument("whence") != "SEEK_DATA"
        and theirs.get("error") == "EINVAL"
        and bool(ours["result"])
    )


@known("lseek-in-a-file-that-died-open", MOUNT)
def _dead_end(seen: Past, ours: Record, theirs: Record) -> bool:
    """lseek(SEEK_END) gives EPERM for an open file whose zone died meanwhile

    zonefs says 0. A buffered read of such a file must give EPERM, and FUSE asks the same question (GETATTR by
    the open file) before both.
    """
    return (
        seen.do == "lseek"
        and seen.argument("whence") == "SEEK_END"
        and ours.get("error") == "EPERM"
        and theirs["result"] == 0
    )


@known("shared-mapping", MOUNT)
def _shared(seen: Past, ours: Record, theirs: Record) -> bool:
    """a shared mapping of a sequential file open for writing fails with ENODEV

    zonefs says EINVAL. Such a file must be served past the page cache, so that writes come whole and in
    order, and Linux refuses to map a FUSE file of that kind before the server is asked.
    """
    return (
        seen.do == "mmap"
        and seen.argument("kind") in ("shared", "validate")
        and seen.path.startswith("seq/")
        and "O_RDWR" in seen.flags
        and theirs.get("error") == "EINVAL"
        and ours.get("error") == "ENODEV"
    )


@known("rwf-append", MOUNT)
def _append_once(seen: Past, ours: Record, theirs: Record) -> bool:
    """RWF_APPEND to a conventional file fails with EFBIG

    zonefs says EINVAL. FUSE's WRITE tells the file's flags, not those of the single call; it arrives as a
    write at the end of the file.
    """
    return (
        seen.argument("flags") == "RWF_APPEND"
        and seen.path.startswith("cnv/")
        and theirs.get("error") == "EINVAL"
        and ours.get("error") == "EFBIG"
    )


@known("append-position", MOUNT, ends=True)
def _appended_at(seen: Past, ours: Record, theirs: Record) -> bool:
    """a write at or past the capacity through O_APPEND appends

    zonefs says EFBIG before it puts the position at the end of the file. FUSE sends the end alone, not the
    position that was asked for.
    """
    at = seen.sought if seen.do == "write" else seen.argument("at")
    far = isinstance(at, int) and at >= min(seen.disk.zone_capacity, seen.disk.zone_size)
    return (
        seen.do in ("write", "pwrite", "writev")
        and far
        and "O_APPEND" in seen.flags
        and theirs.get("error") == "EFBIG"
        and (ours.get("error") == "EINVAL" or ours["result"] is not None)
    )


@known("append-position-buffered", MOUNT)
def _appended_behind(seen: Past, ours: Record, theirs: Record) -> bool:
    """a buffered write through O_APPEND at the end of a full sequential file fails with EIO

    zonefs looks at the position first: EFBIG. FUSE sends the end of the file whatever the position was, so
    that the mount can say only what it says before the end: EIO.
    """
    return (
        seen.do in ("write", "pwrite", "writev")
        and (seen.sought is not None or seen.do != "write")
        and "O_APPEND" in seen.flags
        and not seen.direct
        and theirs.get("error") == "EFBIG"
        and ours.get("error") == "EIO"
    )


@known("long-and-not-aligned", MOUNT, ends=True)
def _in_pieces(seen: Past, ours: Record, theirs: Record) -> bool:
    """of a direct read or write of more than 1 MiB that is no whole number of blocks, whole MiB are done

    zonefs says EINVAL. FUSE sends what is longer than 1 MiB in pieces, and only the last is not aligned.
    """
    return (
        seen.do in (*WRITES, *READS)
        and seen.direct
        and seen.length > REQUEST
        and seen.length % seen.disk.block != 0
        and theirs.get("error") == "EINVAL"
        and ours["result"] is not None
        and ours["result"] % REQUEST == 0
    )


@known("memory-alignment", MOUNT, PROCESS, ends=True)
def _unaligned_memory(seen: Past, ours: Record, theirs: Record) -> bool:
    """direct I/O from and to memory at any address works

    zonefs needs memory aligned as the disk's DMA (EINVAL; and for a write the kernel then handles an I/O
    error). The server of a FUSE mount never sees the caller's memory; Python's bytes lie anywhere.
    """
    pieces = seen.argument("lengths", [])
    assert isinstance(pieces, list)
    odd = any(piece % seen.disk.block for piece in pieces) or bool(seen.argument("skew"))
    return (
        odd
        and seen.direct
        and seen.do in (*WRITES, *READS)
        and theirs.get("error") == "EINVAL"
        and ours["result"] is not None
    )


@known("read-only-by-error", MOUNT)
def _writable_for_the_vfs(seen: Past, ours: Record, theirs: Record) -> bool:
    """after errors=remount-ro, /proc/mounts and statvfs still say rw

    A FUSE server cannot make its superblock read-only while files are open for writing. Each call that would
    change something fails with EROFS as in zonefs; only where Linux itself answers first is another errno
    seen (unlink of a name that does not exist: ENOENT; rename to the same name: 0). `Mount.options` tells the
    true state.
    """
    if not ours.get("ro"):
        return False
    if seen.do == "flags":
        said = [(record["statvfs"], record["mounts"]) for record in (ours, theirs)]
        return said == [(False, "rw"), (True, "ro")]
    if seen.do not in ("unlink", "rmdir", "rename") or theirs.get("error") != "EROFS":
        return False
    itself = seen.do == "rename" and seen.path == seen.argument("to")
    return (itself and ours["result"] == 0) or ours.get("error") in ("ENOENT", "ENOTDIR", "EISDIR")


@known("permission-before-name", MOUNT)
def _permission_first(seen: Past, ours: Record, theirs: Record) -> bool:
    """who may not make a name gets EACCES (EPERM for a link, EROFS with ro) where it does not exist

    zonefs's lookup itself fails, with ENOENT. FUSE turns that answer into a name that is free, and Linux then
    asks whether it may be taken.
    """
    if theirs.get("error") != "ENOENT" or seen.do not in ("create", *NEW):
        return False
    if ours.get("error") == "EROFS":
        return bool(ours["ro"])
    return seen.argument("user") is not None and ours.get("error") in ("EACCES", "EPERM")


@known("open-of-a-directory", PROCESS)
def _directory(seen: Past, ours: Record, theirs: Record) -> bool:
    """a directory cannot be opened (EISDIR)

    `ZoneFS.open_raw` gives Python file objects; `listdir` reads directories.
    """
    return (
        seen.do == "create"
        and str(seen.argument("flags")).startswith("O_RDONLY")
        and theirs["result"] == 0
        and ours.get("error") == "EISDIR"
    )


@known("page-cache-near-bad-blocks", MOUNT, PROCESS)
def _near_bad_blocks(seen: Past, ours: Record, theirs: Record) -> bool:
    """how much around a bad block a buffered read loses

    Linux reads whole folios of its page cache, whose size is its read-ahead's choice, and one bad block makes
    all of a folio unreadable. FUSE's page cache makes other choices; in process there is none: pages of 4 KiB
    fail. Direct reads agree.
    """
    return (
        seen.do in READS
        and seen.bad
        and not seen.direct
        and (theirs.get("error") == "EIO" or theirs["result"] is not None)
        and (ours.get("error") == "EIO" or ours["result"] is not None)
    )


@known("conventional-write-error", MOUNT, PROCESS, ends=True)
def _reported_at_once(seen: Past, ours: Record, theirs: Record) -> bool:
    """a failed buffered write to a conventional file is reported by the write

    Linux writes its page cache back later and reports at fsync. A mount passes buffered writes on at once
    (FUSE's write-back cache would take sizes from Linux instead of the disk); in process there is no cache.
    """
    return (
        seen.do in WRITES
        and seen.bad
        and not seen.direct
        and seen.path.startswith("cnv/")
        and theirs["result"] == seen.length
        and ours.get("error") == "EIO"
    )


@known("superblock-perm-bits", MOUNT, PROCESS, ends=True)
def _strange_mode(seen: Past, ours: Record, theirs: Record) -> bool:
    """permission bits above 07777 in a superblock are ignored

    The kernel makes files of an impossible type of them. FUSE refuses such attributes (EIO for every access).
    mkzonefs does not write any.
    """
    return (
        seen.step is None
        and any(" ?" in line for line in theirs.get("tree", ()))
        and [line.replace(" ?", " -") for line in theirs["tree"]] == ours.get("tree")
    )
