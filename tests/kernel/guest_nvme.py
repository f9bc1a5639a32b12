"""In the guest: gives the commands of a file to an NVMe namespace, and writes down what each gave.

Run with nothing but the standard library: ``guest_nvme.py DEVICE COMMANDS ANSWERS``. A command is a line of JSON, [submission
queue entry, data for the drive, bytes of room], both in hexadecimal; an answer is [status, result, what was read].
"""

import ctypes
import fcntl
import json
import os
import struct
import sys

IO64 = 0xC0504E48  # NVME_IOCTL_IO64_CMD


def give(device: int, sqe: bytes, out: bytes, room: int) -> tuple[int, int, bytes]:
    """Status (without the phase), dwords 0 and 1 of the completion, and the data that came."""
    length = len(out) or room
    memory = ctypes.create_string_buffer(out or room, length) if length else None
    address = ctypes.addressof(memory) if memory is not None else 0
    command = bytearray(80)
    command[0] = sqe[0]
    command[4:8] = sqe[4:8]
    struct.pack_into("<QQII", command, 16, 0, address, 0, length)
    command[40:64] = sqe[40:64]
    status = fcntl.ioctl(device, IO64, command)
    (result,) = struct.unpack_from("<Q", command, 72)
    return status, result, memory.raw if memory is not None and not out else b""


def main(path: str, commands: str, answers: str) -> None:
    device = os.open(path, os.O_RDWR)
    with open(commands, encoding="ascii") as lines, open(answers, "w", encoding="ascii") as to:
        for line in lines:
            sqe, out, room = json.loads(line)
            try:
                status, result, data = give(device, bytes.fromhex(sqe), bytes.fromhex(out), room)
            except OSError as error:  # the kernel did not give it to the drive
                status, result, data = -(error.errno or 1), 0, b""
            to.write(json.dumps([status, result, data.hex()]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
