"""One command that may take its time, by NVME_IOCTL_ADMIN_CMD or IO_CMD: says what came of it, and after how many seconds.

Arguments: a node, "admin" or "io", the opcode, ms until it is aborted (0: as the kernel has it), dwords 10 to 15.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import time

FORMAT = 0x80  # of the namespace; other admin commands here are of none
node, queue = os.open(sys.argv[1], os.O_RDONLY), sys.argv[2]
opcode, milliseconds, *given = (int(word, 0) for word in sys.argv[3:])
words = [*given, *[0] * (6 - len(given))]
data = ctypes.create_string_buffer(4096)
libc = ctypes.CDLL(None, use_errno=True)
command = ctypes.create_string_buffer(
    struct.pack(
        "<BBHI8xQQII",
        opcode,
        0,
        0,
        queue == "io" or opcode == FORMAT,
        0,
        ctypes.addressof(data),
        0,
        4096,
    )
    + struct.pack("<6III", *words, milliseconds, 0),
    72,
)
request = {"admin": 0xC0484E41, "io": 0xC0484E43}[queue]
begin = time.monotonic()
print("begins", flush=True)
status = libc.ioctl(node, ctypes.c_ulong(request), command)
said = errno.errorcode[ctypes.get_errno()] if status < 0 else f"{status:#x}"
print(
    said, f"{struct.unpack_from('<I', command.raw, 68)[0]:#x}", round(time.monotonic() - begin, 1)
)
