"""What libiscsi's own test suite (iscsi-test-cu of libiscsi 1.19) says of an exported disk, as data.

`test_suite_of_libiscsi.py` goes by it: a failure or a skipped test that does not stand here fails, and so does an entry that no
longer shows. docs/iscsi-suite.md is written from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MANAGED, AWARE, PLAIN = "host-managed", "host-aware", "conventional zones only"
DISKS = {
    MANAGED: {"conventional": 8},
    AWARE: {"conventional": 8, "model": "host-aware"},
    PLAIN: {"conventional": 64, "model": "host-aware"},
}
"""What the disks are that it runs on: 64 zones of 1 MiB, with eight logical blocks to a physical one."""

TESTS = 230
"""How many tests it has, each of them run once."""

MOST_FAILED, MOST_SKIPPED = 8, 81
"""On conventional zones only: as many as tgt has, whose disk has no zones at all."""


@dataclass(frozen=True)
class Failure:
    test: str
    """SUITE.TEST, as it prints them."""
    cause: str
    disks: Sequence[str] = (MANAGED, AWARE, PLAIN)


@dataclass(frozen=True)
class Skip:
    says: str
    """What stands behind [SKIPPED]."""
    cause: str
    tests: dict[str, int] = field(default_factory=dict)
    """How many tests say so, by disk."""


def each(number: int) -> dict[str, int]:
    """As many on all disks."""
    return dict.fromkeys(DISKS, number)


def ordinary(number: int) -> dict[str, int]:
    """As many on those that are of device type 00h."""
    return {AWARE: number, PLAIN: number}


OVERWRITES = "writes 1 to 256 blocks at the same place, and backwards from the end of the disk: a sequential zone takes neither"

FAILURES = [
    Failure(
        "GetLBAStatus.UnmapSingle",
        "asks for block n+1 and wants the answer to begin at the next physical block, n+8: it is right of disks whose "
        "physical block is one logical block",
    ),
    Failure(
        "Inquiry.Standard",
        "knows versions up to SPC-4 (06h); the disk claims SPC-5, as scsi_debug does",
    ),
    Failure(
        "Sanitize.BlockErase",
        "wants no block mapped behind it. Of a conventional zone that was written it is not known which blocks are stored: "
        "GET LBA STATUS says 'mapped or unknown' of them, though they read as zeros",
    ),
    Failure(
        "Sanitize.CryptoErase",
        "writes at the end of the disk first, which a sequential zone does not take",
        (MANAGED,),
    ),
    Failure(
        "Sanitize.Overwrite",
        "wants its pattern back. All forms leave empty zones and zeros: a pattern would leave a zone written",
    ),
    Failure(
        "Sanitize.Reset",
        "wants one with IMMED to be under way for seconds; here it is done when it ends, which is at once",
    ),
    *(
        Failure(f"{command}.Simple", OVERWRITES, (MANAGED,))
        for command in ("Write10", "Write12", "WriteVerify10", "WriteVerify12")
    ),
    Failure(
        "WriteAtomic16.Simple",
        "writes up to 256 blocks and does not look at MAXIMUM ATOMIC TRANSFER LENGTH, which is 1: a power cut takes or keeps "
        "each logical block by itself",
        (AWARE, PLAIN),
    ),
    Failure(
        "WriteSame16.Unmap",
        "one command goes from conventional zones on into sequential ones: WRITE BOUNDARY VIOLATION",
        (AWARE,),
    ),
]

COPIES = (
    "a copy manager is no part of a zoned disk: EXTENDED COPY would have to write by the rules of zones that its parameter list "
    "knows nothing of. INQUIRY says that there is none (3PC)"
)
NOT_REMOVABLE = "the medium of a hard disk is not removable (RMB)"
ONE_ONLY = "there is no such limit: one logical block is written, anywhere"

SKIPS = [
    Skip(
        "Not SBC device. Skipping test",
        "a host-managed disk is of device type 14h, which the suite does not know as a block device; on the other disks "
        "these tests run",
        {MANAGED: 101},
    ),
    Skip("EXTENDEDCOPY is not implemented.", COPIES, each(5)),
    Skip("RECEIVECOPYRESULT is not implemented.", COPIES, each(3)),
    Skip("RECEIVE_COPY_RESULTS is not implemented.", COPIES, each(3)),
    Skip(
        "This device does not claim SPC-3 or later",
        "it knows versions up to SPC-4 only, see above; allocation lengths of every size are tried by tests/wire",
        each(1),
    ),
    Skip(
        "Logical unit is not write-protected. Skipping test.",
        "the same disk cannot be both; tests/wire asks a write-protected one",
        each(1),
    ),
    Skip("Media is not removable.", NOT_REMOVABLE, each(1)),
    Skip("LUN is not removable. Skipping test.", NOT_REMOVABLE, {MANAGED: 2, AWARE: 3, PLAIN: 3}),
    Skip("Logical unit is not removable. Skipping test.", NOT_REMOVABLE, ordinary(8)),
    Skip("No alignment restrictions on this LUN", ONE_ONLY, ordinary(1)),
    Skip("No granularity restrictions on this LUN", ONE_ONLY, ordinary(1)),
    *(
        Skip(
            f"{command} does not support 0-blocks.",
            "by 0 it means the rest of the disk, which is more than one command may write: page B0h says so (WSNZ), and the test "
            "has seen that it is refused",
            ordinary(1),
        )
        for command in ("WRITESAME10", "WRITESAME16")
    ),
]
