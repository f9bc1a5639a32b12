"""Runs in the guest: CDBs for a fresh disk of scsi_debug by SG_IO, or for the one of a node of sg, and what each was
answered.

    python -m kernel.guest_scsi COMMANDS ANSWERS [/dev/sgN]

A line of either file is a disk: what `kernel.scsi_commands` describes, and a list of answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from typing import Any

from kernel.guest import Generic, ScsiDebug
from scsi import sense_codes

SHORT = 4096


def told(data: bytes) -> str:
    """Data as it is compared: in hex, or if it is long by its hash."""
    return data.hex() if len(data) <= SHORT else f"{len(data)} {hashlib.sha256(data).hexdigest()}"


def codes(sense: bytes) -> str:
    """``5/21/04``: key, ASC, ASCQ of either format; empty without sense data."""
    return "{:x}/{:02x}/{:02x}".format(*sense_codes(sense)) if sense else ""


def give(disk: Generic, command: dict[str, Any]) -> list[Any]:
    """Status, sense codes and data."""
    out = bytes.fromhex(command["out"]) * command["times"]
    length = len(out) or command["room"]
    if out:
        disk.buffer[: len(out)] = out
        direction = disk.TO_DEVICE
    else:
        disk.buffer[:length] = bytes(length)
        direction = disk.FROM_DEVICE if length else disk.NONE
    header, sense = disk.send(bytes.fromhex(command["cdb"]), direction, length)
    data = b"" if out or header.status else bytes(disk.buffer[: length - header.resid])
    return [header.status, codes(sense[: header.sb_len_wr]), told(data)]


def main() -> None:
    with open(sys.argv[1]) as lines, open(sys.argv[2], "w") as answers:
        for line in lines:
            asked = json.loads(line)
            node = Generic(sys.argv[3]) if sys.argv[3:] else ScsiDebug(asked["disk"])
            with contextlib.closing(node) as disk:
                given = [give(disk, command) for command in asked["commands"]]
            answers.write(json.dumps(given) + "\n")


if __name__ == "__main__":
    main()
